package quantity

import (
	"fmt"
	"strings"
)

// Rate is a number of bytes per second, written like "20MB/s" or "500KiB/s". The zero Rate is none.
type Rate Bytes

// UnmarshalText reads a rate, which is not 0.
func (r *Rate) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number, ok := strings.CutSuffix(t, "/s")
	b, err := ParseBytes(strings.TrimSpace(number))
	switch {
	case !ok && err == nil && b > 0:
		return fmt.Errorf(`rate %q is a size: write "%s/s"`, t, number)
	case !ok || err != nil || b == 0:
		return fmt.Errorf(`%q is not a rate: write one like "20MB/s"`, t)
	}
	*r = Rate(b)
	return nil
}

// MarshalText writes the rate as String does.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string { return Bytes(r).String() + "/s" }
