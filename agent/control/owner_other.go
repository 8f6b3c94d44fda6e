//go:build !linux

package control

func ownerOf(string) (uid uint32, ok bool) { return 0, false }
