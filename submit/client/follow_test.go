package client

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		what  string
		after time.Duration
		asks  int
		waits time.Duration // the last of them
	}{
		{"the first ones", 0, askAtOnce, 0},
		{"one too many", 0, 1, askEvery},
		{"in time", 2 * askEvery, 1, 0},
		{"in time again", askEvery, 1, 0},
		{"too soon", askEvery / 5, 1, askEvery - askEvery/5},
		{"after a while", time.Hour, askAtOnce, 0},
		{"and no more than at first", 0, 1, askEvery},
	} {
		now = now.Add(tt.after)
		var waits time.Duration
		for range tt.asks {
			waits = p.next(now)
		}
		if waits != tt.waits {
			t.Errorf("%s: it waits %v, want %v", tt.what, waits, tt.waits)
		}
	}
}
