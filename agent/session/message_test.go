package session

import (
	"bytes"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	for _, r := range []Report{
		{Kind: Busy, Source: Wayland},
		{Kind: Quiet, Source: Mutter, Idle: 250 * time.Millisecond},
		{Kind: Quiet, Source: ScreenSaver},
		{Kind: Quiet, Source: X11, Idle: longestIdle},
		{Kind: Blind},
		{Kind: Nobody},
	} {
		if got, err := parseReport(r.encode()); err != nil || got != r {
			t.Errorf("%+v comes back as %+v, %v", r, got, err)
		}
	}
}

func TestParseReportRefuses(t *testing.T) {
	good := Report{Kind: Quiet, Source: X11, Idle: time.Second}.encode()
	with := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":           {},
		"a byte short":      good[:reportSize-1],
		"a byte long":       append(bytes.Clone(good), 0),
		"another version":   with(2, 2),
		"no kind":           with(3, 0),
		"unknown kind":      with(3, 5),
		"idle while busy":   with(3, byte(Busy)),
		"source of a blind": Report{Kind: Blind, Source: X11}.encode(),
		"no source":         with(4, 0),
		"unknown source":    with(4, 5),
		"hidden content":    with(6, 'x'),
		"idle for ages":     with(15, 1),
	} {
		if r, err := parseReport(b); err == nil {
			t.Errorf("%s is read as %+v", name, r)
		}
	}
}

// FuzzParseReport: what is read can be written again, and was exactly that.
func FuzzParseReport(f *testing.F) {
	f.Add(Report{Kind: Busy, Source: Wayland}.encode())
	f.Add(Report{Kind: Quiet, Source: X11, Idle: time.Hour}.encode())
	f.Add(Report{Kind: Nobody}.encode())
	f.Add([]byte("SK"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReport(b)
		if err != nil {
			return
		}
		if r.Idle < 0 || r.Idle > longestIdle || !bytes.Equal(r.encode(), b) {
			t.Errorf("%x is read as %+v", b, r)
		}
	})
}
