package quantity

import (
	"fmt"
	"strconv"
	"strings"
)

// Share is a part of a number of things, such as cpus: "75%", or how many of them. The zero Share is
// none. One that says both, as [Share.Least] makes it, is whichever is less; it cannot be written.
type Share struct {
	Percent float64 // 0 to 100; 0 means that Count says it
	Count   int64
}

// Of gives the share of total, rounded down, but at least one of them for a share above zero. It is
// never more than there are.
func (s Share) Of(total int64) int64 {
	if s == (Share{}) || total <= 0 {
		return 0
	}
	n := total
	if s.Percent > 0 {
		n = max(1, min(n, int64(float64(total)*s.Percent/100)))
	}
	if s.Count > 0 {
		n = min(n, s.Count)
	}
	return n
}

// Least gives the share that is never more than either.
func (s Share) Least(o Share) Share {
	if s == (Share{}) || o == (Share{}) {
		return Share{}
	}
	return Share{Percent: least(s.Percent, o.Percent), Count: least(s.Count, o.Count)}
}

// least gives the smaller of two limits, of which 0 is none.
func least[N int64 | float64 | Bytes](a, b N) N {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// UnmarshalText reads "75%" or a whole number.
func (s *Share) UnmarshalText(text []byte) error {
	t := string(text)
	if strings.HasSuffix(t, "%") {
		p, err := parsePercent(t)
		if err != nil {
			return err
		}
		*s = Share{Percent: p}
		return nil
	}
	n, err := strconv.ParseUint(t, 10, 31)
	if err != nil {
		return fmt.Errorf(`%q is neither a percentage like "75%%" nor a whole number`, t)
	}
	*s = Share{Count: int64(n)}
	return nil
}

// MarshalText writes the share as String does.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Share) String() string {
	count := strconv.FormatInt(s.Count, 10)
	switch {
	case s.Percent > 0 && s.Count > 0:
		return formatPercent(s.Percent) + ", at most " + count
	case s.Percent > 0:
		return formatPercent(s.Percent)
	}
	return count
}

// ByteShare is a part of a size, such as the machine's memory: "50%", or a size. The zero ByteShare
// is nothing. One that says both, as [ByteShare.Least] makes it, is whichever is less.
type ByteShare struct {
	Percent float64 // 0 to 100; 0 means that Bytes says it
	Bytes   Bytes
}

// Of gives the share of total. It is never more than total.
func (s ByteShare) Of(total Bytes) Bytes {
	switch {
	case s.Percent > 0 && s.Bytes > 0:
		return min(total, Bytes(float64(total)*s.Percent/100), s.Bytes)
	case s.Percent > 0:
		return min(total, Bytes(float64(total)*s.Percent/100))
	}
	return min(total, s.Bytes)
}

// Least gives the share that is never more than either.
func (s ByteShare) Least(o ByteShare) ByteShare {
	if s == (ByteShare{}) || o == (ByteShare{}) {
		return ByteShare{}
	}
	return ByteShare{Percent: least(s.Percent, o.Percent), Bytes: least(s.Bytes, o.Bytes)}
}

// UnmarshalText reads "50%" or a size, as [ParseBytes] does.
func (s *ByteShare) UnmarshalText(text []byte) error {
	t := string(text)
	if strings.HasSuffix(t, "%") {
		p, err := parsePercent(t)
		if err != nil {
			return err
		}
		*s = ByteShare{Percent: p}
		return nil
	}
	b, err := ParseBytes(t)
	if err != nil {
		return fmt.Errorf(`%w, or a percentage like "50%%"`, err)
	}
	*s = ByteShare{Bytes: b}
	return nil
}

// MarshalText writes the share as String does.
func (s ByteShare) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s ByteShare) String() string {
	switch {
	case s.Percent > 0 && s.Bytes > 0:
		return formatPercent(s.Percent) + ", at most " + s.Bytes.String()
	case s.Percent > 0:
		return formatPercent(s.Percent)
	}
	return s.Bytes.String()
}

func parsePercent(s string) (float64, error) {
	number := strings.TrimSpace(strings.TrimSuffix(s, "%"))
	p, err := strconv.ParseFloat(number, 64)
	if err != nil || !plainNumber(number) || p > 100 {
		return 0, fmt.Errorf(`%q is not a percentage from "0%%" to "100%%"`, s)
	}
	return p, nil
}

func formatPercent(p float64) string { return strconv.FormatFloat(p, 'f', -1, 64) + "%" }
