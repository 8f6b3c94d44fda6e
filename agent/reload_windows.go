package main

// onReload does nothing: Windows has no signal for it, and the service is restarted instead.
func onReload(func()) (stop func()) { return func() {} }
