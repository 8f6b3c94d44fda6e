package starter

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func TestKeeping(t *testing.T) {
	const lease = 10 * time.Second
	fresh := func() keeping {
		k := keeping{lease: lease}
		k.start(0, false)
		return k
	}
	for _, tt := range []struct {
		name string
		do   func(k *keeping)
		want bool // frozen
	}{
		{"runs", func(k *keeping) { k.due(time.Second) }, false},
		{"agent is silent", func(k *keeping) { k.due(Silence) }, true},
		{"agent is back", func(k *keeping) { k.due(Silence); k.heard(3 * time.Second); k.beat(3*time.Second, false) }, false},
		{"another agent is back that wants it frozen", func(k *keeping) { k.due(Silence); k.heard(3 * time.Second); k.beat(3*time.Second, true) }, true},
		{"asked for", func(k *keeping) { k.heard(1); k.beat(1, true) }, true},
		{"a beat does not thaw", func(k *keeping) { k.beat(1, true); k.beat(2, false) }, true},
		{"a thaw does", func(k *keeping) { k.beat(1, true); _ = k.thaw(2) }, false},
		{"a thaw does after a silence", func(k *keeping) {
			k.beat(1, true)
			k.due(Silence)
			k.heard(9 * time.Second)
			_ = k.thaw(9 * time.Second)
		}, false},
		{"lease over", func(k *keeping) { k.heard(9 * time.Second); k.due(lease) }, true},
		{"lease over, agent there", func(k *keeping) { k.heard(9 * time.Second); k.due(lease); k.heard(lease + 1); k.beat(lease+1, false) }, true},
		{"new lease", func(k *keeping) { k.heard(lease); k.due(lease); k.heard(lease + 1); k.grant(lease+1, lease) }, false},
		{"new lease of a job that is to be frozen", func(k *keeping) { k.beat(1, true); k.heard(lease); k.due(lease); k.grant(lease+1, lease) }, true},
		{"lease taken away", func(k *keeping) { k.heard(1); k.grant(1, 0) }, true},
		{"lease ran out while the machine slept", func(k *keeping) { k.heard(time.Hour); k.beat(time.Hour, false) }, true},
		{"started too late", func(k *keeping) { k.start(lease, false) }, true},
		{"started frozen", func(k *keeping) { k.start(0, true) }, true},
	} {
		k := fresh()
		if tt.do(&k); k.frozen() != tt.want {
			t.Errorf("%s: frozen is %v, want %v (%+v)", tt.name, k.frozen(), tt.want, k)
		}
	}
	k := fresh()
	k.heard(lease)
	if err := k.thaw(lease); !errors.Is(err, ErrLeaseOver) {
		t.Errorf("thaw without a lease gave %v", err)
	}
}

// Whatever happens, a job never runs past its lease nor longer than the silence after the last word.
func TestKeepingNeverRunsUnwatched(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		k := keeping{lease: time.Second}
		k.start(0, false)
		var now, heard, lease time.Duration = 0, 0, time.Second
		next, _ := k.due(now)
		for step := range 200 {
			now += time.Duration(r.Int64N(int64(time.Second)))
			if now > next { // the timer comes first
				now = next
				next, _ = k.due(now)
			} else {
				k.heard(now)
				heard = now
				switch r.IntN(4) {
				case 0:
					k.beat(now, r.IntN(2) == 0)
				case 1:
					left := time.Duration(r.Int64N(int64(4 * time.Second)))
					k.grant(now, left)
					lease = now + left
				case 2:
					_ = k.thaw(now)
				}
				next, _ = k.due(now)
			}
			if !k.frozen() && (now >= lease || now-heard >= Silence) {
				t.Fatalf("seed %d, step %d: at %v the job runs, lease until %v, agent heard at %v", seed, step, now, lease, heard)
			}
		}
	}
}

func TestLonelyRunnerEnds(t *testing.T) {
	k := keeping{lastBeat: time.Second}
	next, end := k.due(2 * time.Second)
	if end || next != time.Second+unneeded {
		t.Errorf("next %v, end %v", next, end)
	}
	if _, end = k.due(next); !end {
		t.Error("it does not end")
	}
}
