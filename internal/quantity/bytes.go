package quantity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size, never negative. It is written with a decimal unit, as disks are sold ("20GB" is
// 20,000,000,000 bytes), or a binary one, as memory is ("4GiB" is 4,294,967,296 bytes).
type Bytes int64

// unit is a suffix of a size and the number of bytes it stands for.
type unit struct {
	name string
	size Bytes
}

// units are in the order in which String tries them: by size, the decimal one first.
var units = []unit{
	{"PB", 1e15},
	{"PiB", 1 << 50},
	{"TB", 1e12},
	{"TiB", 1 << 40},
	{"GB", 1e9},
	{"GiB", 1 << 30},
	{"MB", 1e6},
	{"MiB", 1 << 20},
	{"kB", 1e3},
	{"KiB", 1 << 10},
	{"B", 1},
}

// ParseBytes reads s, a number and its unit. The case of the unit does not matter; a blank may stand
// before it.
func ParseBytes(s string) (Bytes, error) {
	if s == "0" {
		return 0, nil
	}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	suffix, number := s[len(digits):], strings.TrimSpace(digits)
	if !plainNumber(number) {
		return 0, fmt.Errorf(`%q is not a size: write one like "512MB" or "4GiB"`, s)
	}
	if suffix == "" {
		return 0, fmt.Errorf(`size %q has no unit: write "%sMB" or "%sGB"`, s, number, number)
	}
	for _, u := range units {
		if !strings.EqualFold(u.name, suffix) {
			continue
		}
		if n, err := strconv.ParseInt(number, 10, 64); err == nil && n <= math.MaxInt64/int64(u.size) {
			return Bytes(n) * u.size, nil
		}
		f, err := strconv.ParseFloat(number, 64)
		if f *= float64(u.size); err != nil || f >= math.MaxInt64 {
			return 0, fmt.Errorf("size %q is too large", s)
		}
		return Bytes(f), nil
	}
	if len(suffix) == 1 && strings.ContainsAny(suffix, "kKmMgGtTpP") {
		return 0, fmt.Errorf(`size %q: write "%[2]s%[3]sB" (decimal) or "%[2]s%[3]siB" (binary)`, s, number, strings.ToUpper(suffix))
	}
	return 0, fmt.Errorf("size %q has an unknown unit %q: use kB, MB, GB, TB or KiB, MiB, GiB, TiB", s, suffix)
}

// plainNumber reports whether s is digits with at most one point: no sign, no exponent, no "inf".
func plainNumber(s string) bool {
	whole, fraction, _ := strings.Cut(s, ".")
	return whole != "" && strings.Trim(whole+fraction, "0123456789") == ""
}

// UnmarshalText reads the size, as [ParseBytes] does.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := ParseBytes(string(text))
	if err != nil {
		return err
	}
	*b = v
	return nil
}

// MarshalText writes the size as String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String writes the size exactly, in the largest unit that divides it.
func (b Bytes) String() string {
	if b == 0 {
		return "0"
	}
	for _, u := range units {
		if b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B" // not reached: everything is a multiple of one byte
}
