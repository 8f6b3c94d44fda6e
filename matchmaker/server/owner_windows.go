package server

// ownLike does nothing: files belong to whom their directory says.
func ownLike(string, string) error { return nil }
