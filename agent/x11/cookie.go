package x11

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// The kind of password that displays are opened with, and its length in bytes.
const (
	CookieProtocol = "MIT-MAGIC-COOKIE-1"
	CookieSize     = 16
)

// ParseDisplay reads the name of a display of this machine: ":7", ":7.0" or "unix:7".
func ParseDisplay(name string) (int, error) {
	host, number, found := strings.Cut(name, ":")
	number, _, _ = strings.Cut(number, ".") // the screen does not matter: input is the server's
	n, err := strconv.ParseUint(number, 10, 16)
	if !found || err != nil || (host != "" && host != "unix") {
		return 0, fmt.Errorf("display %q is not one of this machine's, as in \":0\"", name)
	}
	return int(n), nil
}

// ParseAuthority reads a cookie file and returns the cookies that open display n of this machine. A
// damaged end is left out.
func ParseAuthority(b []byte, n int) [][]byte {
	const local, wild = 256, 65535 // address families
	var found [][]byte
	for len(b) >= 2 {
		family := binary.BigEndian.Uint16(b)
		b = b[2:]
		var field [4][]byte // address, display, protocol, cookie
		for i := range field {
			if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
				return found
			}
			end := 2 + int(binary.BigEndian.Uint16(b))
			field[i], b = b[2:end], b[end:]
		}
		// The address is the host's name when the session began. It may have changed since, and the
		// socket is of this machine anyway.
		if (family == local || family == wild) &&
			(len(field[1]) == 0 || string(field[1]) == strconv.Itoa(n)) &&
			string(field[2]) == CookieProtocol && len(field[3]) == CookieSize {
			found = append(found, bytes.Clone(field[3]))
		}
	}
	return found
}
