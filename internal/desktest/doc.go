// Package desktest is TEST AND BENCHMARK ONLY: desks that somebody sits at, real X servers, compositors and
// terminals, on which input happens at a known moment.
//
//	desk, err := desktest.X11(ctx)          // or Wayland, Pty, Mutter
//	if errors.Is(err, desktest.ErrMissing)  // the programs for it are not installed
//	defer desk.Close()
//	took, err := desk.Times(ctx, 200)       // from the press to probe.WatchConfig.OnActive
//
// A program that uses Wayland or Mutter must call session.MaybeHelper first thing. Whoever has a watcher of
// their own gives it what is in Desk.Watch, and calls Desk.Press.
package desktest
