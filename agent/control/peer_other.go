//go:build !linux

package control

import (
	"errors"
	"net"
)

// peerOf is not known on this system: its agents have no controls yet.
func peerOf(net.Conn) (Peer, error) { return Peer{}, errors.ErrUnsupported }

func ownerOf(string) (uint32, bool) { return 0, false }
