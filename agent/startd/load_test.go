package startd

import "testing"

// What counts as ours are the threads of the jobs that run: one each until they are counted.
func TestLoadOfJobs(t *testing.T) {
	l := newLoadMeter()
	ours := func() (sum int) {
		for _, n := range l.jobs {
			sum += n
		}
		return sum
	}
	for _, tt := range []struct {
		what string
		do   func()
		want int
	}{
		{"no job", func() {}, 0},
		{"a job begins", func() { l.count(1, true) }, 1},
		{"it has eight threads", func() { l.sampled(1, 8) }, 8},
		{"another begins", func() { l.count(2, true) }, 9},
		{"it waits for a file", func() { l.sampled(2, 0) }, 8},
		{"the first is frozen", func() { l.count(1, false) }, 0},
		{"a sample of it comes late", func() { l.sampled(1, 8) }, 0},
		{"it goes on", func() { l.count(1, true) }, 1},
	} {
		if tt.do(); ours() != tt.want {
			t.Errorf("%s: %d threads are ours, want %d", tt.what, ours(), tt.want)
		}
	}
}
