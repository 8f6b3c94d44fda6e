package main

import "context"

// untilHandOver does nothing: nobody can tell a process on Windows to make way.
func untilHandOver(ctx context.Context) (_ context.Context, handsOver func() bool, stop func()) {
	return ctx, nil, func() {}
}
