package x11

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func TestParseAuthority(t *testing.T) {
	a, b := bytes.Repeat([]byte{1}, CookieSize), bytes.Repeat([]byte{2}, CookieSize)
	for _, tt := range []struct {
		name string
		file []byte
		want [][]byte
	}{
		{"this machine", authEntry(256, "desk7", "3", CookieProtocol, a), [][]byte{a}},
		{"any display", authEntry(65535, "", "", CookieProtocol, b), [][]byte{b}},
		{"another display", authEntry(256, "desk7", "4", CookieProtocol, a), nil},
		{"another machine by address", authEntry(0, "\x0a\x00\x00\x01", "3", CookieProtocol, a), nil},
		{"another protocol", authEntry(256, "desk7", "3", "XDM-AUTHORIZATION-1", a), nil},
		{"damaged end", append(authEntry(256, "d", "3", CookieProtocol, a), 1, 0, 0, 9), [][]byte{a}},
		{"empty", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ParseAuthority(tt.file, 3); !slices.EqualFunc(got, tt.want, bytes.Equal) {
				t.Errorf("got %x, want %x", got, tt.want)
			}
		})
	}
}

// authEntry makes an entry of a cookie file.
func authEntry(family uint16, address, display, protocol string, cookie []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, family)
	for _, field := range []string{address, display, protocol, string(cookie)} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return b
}
