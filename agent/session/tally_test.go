package session

import (
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	type step struct {
		source int
		in     input
		want   input
		news   bool
	}
	busy := input{busy: true}
	quiet := func(d time.Duration) input { return input{idle: d} }
	for _, tt := range []struct {
		name    string
		sources int
		steps   []step
	}{
		{"one source", 1, []step{
			{0, quiet(time.Hour), quiet(time.Hour), true},
			{0, busy, busy, true},
			{0, busy, input{}, false},
			{0, quiet(time.Second), quiet(time.Second), true},
		}},
		{"the others may be busy", 2, []step{
			{0, quiet(time.Hour), input{}, false},
			{1, quiet(time.Minute), quiet(time.Minute), true},
			{0, busy, busy, true},
			{1, busy, input{}, false},
			{0, quiet(time.Second), input{}, false},
			{1, quiet(2 * time.Second), quiet(time.Second), true},
		}},
		{"busy needs nobody else", 2, []step{
			{0, busy, busy, true},
			{0, quiet(time.Second), input{}, false},
			{1, quiet(time.Minute), quiet(time.Second), true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			sum := newTally(tt.sources)
			for i, s := range tt.steps {
				if got, news := sum.hear(s.source, s.in, now); got != s.want || news != s.news {
					t.Errorf("step %d: %+v, %v, want %+v, %v", i, got, news, s.want, s.news)
				}
			}
		})
	}
}
