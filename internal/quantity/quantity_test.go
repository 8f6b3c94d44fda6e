package quantity

import (
	"encoding"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		in, print string
		want      time.Duration
		err       string
	}{
		{in: "15m", want: 15 * time.Minute, print: "15m"},
		{in: "2h", want: 2 * time.Hour, print: "2h"},
		{in: "1h30m", want: 90 * time.Minute, print: "1h30m"},
		{in: "90s", want: 90 * time.Second, print: "1m30s"},
		{in: "250ms", want: 250 * time.Millisecond, print: "250ms"},
		{in: "7d", want: 7 * day, print: "7d"},
		{in: "1d12h", want: 36 * time.Hour, print: "1d12h"},
		{in: "0", print: "0s"},
		{in: "0s", print: "0s"},
		{in: "", err: "empty duration"},
		{in: "15", err: `"15m" for minutes`},
		{in: "-5m", err: "negative"},
		{in: "1d-5m", err: "negative"},
		{in: "soon", err: "not a duration"},
		{in: "1.5d", err: "not a duration"},
		{in: "9999999h", err: "not a duration"},
		{in: "65535d2562047h", err: "too long"},
	} {
		var d Duration
		err := d.UnmarshalText([]byte(tt.in))
		if !errorHas(err, tt.err) {
			t.Errorf("%q: error %v, want one with %q", tt.in, err, tt.err)
			continue
		}
		if err == nil && (time.Duration(d) != tt.want || d.String() != tt.print) {
			t.Errorf("%q is %v printed %q, want %v printed %q", tt.in, time.Duration(d), d, tt.want, tt.print)
		}
	}
}

func TestBytes(t *testing.T) {
	for _, tt := range []struct {
		in, print string
		want      Bytes
		err       string
	}{
		{in: "20GB", want: 20e9, print: "20GB"},
		{in: "512MB", want: 512e6, print: "512MB"},
		{in: "4GiB", want: 4 << 30, print: "4GiB"},
		{in: "1.5GB", want: 15e8, print: "1500MB"},
		{in: "1024kb", want: 1024e3, print: "1024kB"},
		{in: "100 MB", want: 1e8, print: "100MB"},
		{in: "1025B", want: 1025, print: "1025B"},
		{in: "0", print: "0"},
		{in: "20", err: "no unit"},
		{in: "20G", err: `"20GB" (decimal) or "20GiB" (binary)`},
		{in: "20XB", err: "unknown unit"},
		{in: "-1GB", err: "not a size"},
		{in: "1e9B", err: "not a size"},
		{in: "infB", err: "not a size"},
		{in: "", err: "not a size"},
		{in: "99999999999PB", err: "too large"},
		{in: "1.2.3GB", err: "not a size"},
	} {
		var b Bytes
		err := b.UnmarshalText([]byte(tt.in))
		if !errorHas(err, tt.err) {
			t.Errorf("%q: error %v, want one with %q", tt.in, err, tt.err)
			continue
		}
		if err == nil && (b != tt.want || b.String() != tt.print) {
			t.Errorf("%q is %d printed %q, want %d printed %q", tt.in, int64(b), b, int64(tt.want), tt.print)
		}
	}
}

func TestShareOf(t *testing.T) {
	for _, tt := range []struct {
		in    string
		total int64
		want  int64
		err   string
	}{
		{in: "75%", total: 8, want: 6},
		{in: "75%", total: 2, want: 1},
		{in: "10%", total: 4, want: 1}, // a machine that gives a share gives at least one
		{in: "0%", total: 4, want: 0},
		{in: "100%", total: 4, want: 4},
		{in: "4", total: 8, want: 4},
		{in: "4", total: 2, want: 2},
		{in: "0", total: 2, want: 0},
		{in: "50%", total: 0, want: 0},
		{in: "101%", err: "percentage"},
		{in: "-1%", err: "percentage"},
		{in: "%", err: "percentage"},
		{in: "1.5", err: "whole number"},
		{in: "4GB", err: "whole number"},
	} {
		var s Share
		err := s.UnmarshalText([]byte(tt.in))
		if !errorHas(err, tt.err) {
			t.Errorf("%q: error %v, want one with %q", tt.in, err, tt.err)
			continue
		}
		if got := s.Of(tt.total); err == nil && got != tt.want {
			t.Errorf("%q of %d is %d, want %d", tt.in, tt.total, got, tt.want)
		}
	}
}

func TestByteShareOf(t *testing.T) {
	for _, tt := range []struct {
		in          string
		total, want Bytes
		err         string
	}{
		{in: "50%", total: 8e9, want: 4e9},
		{in: "20GB", total: 100e9, want: 20e9},
		{in: "20GB", total: 10e9, want: 10e9},
		{in: "0%", total: 10e9, want: 0},
		{in: "2048", err: `no unit: write "2048MB" or "2048GB", or a percentage`},
	} {
		var s ByteShare
		err := s.UnmarshalText([]byte(tt.in))
		if !errorHas(err, tt.err) {
			t.Errorf("%q: error %v, want one with %q", tt.in, err, tt.err)
			continue
		}
		if got := s.Of(tt.total); err == nil && got != tt.want {
			t.Errorf("%q of %v is %v, want %v", tt.in, tt.total, got, tt.want)
		}
	}
}

// FuzzText: what is accepted is printed in a form that is read as the same again.
func FuzzText(f *testing.F) {
	for _, s := range []string{"15m", "1d12h", "20GB", "1.5GiB", "75%", "12.5%", "4", "0", "-1", "1e9GB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		roundTrip[Duration](t, s)
		roundTrip[Bytes](t, s)
		roundTrip[Share](t, s)
		roundTrip[ByteShare](t, s)
	})
}

func roundTrip[T interface {
	comparable
	encoding.TextMarshaler
}](t *testing.T, s string,
) {
	t.Helper()
	var first, second T
	if any(&first).(encoding.TextUnmarshaler).UnmarshalText([]byte(s)) != nil {
		return
	}
	text, err := first.MarshalText()
	if err != nil {
		t.Fatalf("%T %q: print: %v", first, s, err)
	}
	if err := any(&second).(encoding.TextUnmarshaler).UnmarshalText(text); err != nil || second != first {
		t.Errorf("%T %q prints %q, which reads as %v (%v)", first, s, text, second, err)
	}
}

func errorHas(err error, want string) bool {
	if want == "" || err == nil {
		return want == "" && err == nil
	}
	return strings.Contains(err.Error(), want)
}
