package main

import "skua/agent/probe"

// Before main, since this program is also the helper in users' sessions.
func init() { probe.MaybeHelper() }
