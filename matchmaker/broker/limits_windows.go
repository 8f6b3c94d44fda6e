package broker

import "log/slog"

// warnOpenFiles does nothing: Windows has no such limit.
func warnOpenFiles(*slog.Logger) {}
