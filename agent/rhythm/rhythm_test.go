package rhythm

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ last, every, want time.Duration }{
		{0, time.Minute, time.Minute},
		{time.Second, time.Minute, time.Minute},
		{29 * time.Second, time.Minute, time.Minute},
		{30 * time.Second, time.Minute, 2 * time.Minute}, // the next beat would be too soon
		{59 * time.Second, time.Minute, 2 * time.Minute},
		{time.Minute, time.Minute, 2 * time.Minute},
		{2 * time.Minute, 2 * time.Minute, 4 * time.Minute},
		{-10 * time.Second, time.Minute, time.Minute},
		{-50 * time.Second, time.Minute, 0},
		{-26 * 365 * 24 * time.Hour, time.Hour, -26*365*24*time.Hour + time.Hour},
	} {
		if got := Next(began.Add(c.last), c.every).Sub(began); got != c.want {
			t.Errorf("what was done after %v and is done every %v is done again after %v, want %v", c.last, c.every, got, c.want)
		}
	}
}

// TestNextKeepsStep has two things that began at different times come to be done together.
func TestNextKeepsStep(t *testing.T) {
	a, b := began.Add(7*time.Second), began.Add(95*time.Second)
	for range 3 {
		a, b = Next(a, time.Minute), Next(b, 2*time.Minute)
	}
	if apart := a.Sub(b) % time.Minute; apart != 0 {
		t.Errorf("they are %v apart", apart)
	}
}
