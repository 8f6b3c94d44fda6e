//go:build !linux

package probe

import "context"

// screens cannot be looked at from a service on this system.
type screens struct{}

func newScreens(WatchConfig) (*screens, error) { return nil, nil }

func (*screens) fullScreen(context.Context) maybe[bool] { return maybe[bool]{} }

func (*screens) close() {}
