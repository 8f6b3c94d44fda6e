package transfer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// owner is a machine whose owner wants so many processors, and gets half of what is wanted by both.
type owner struct {
	cpus, wants float64
	own, idle   time.Duration
}

// use has this process want all it can get for a while, and says what it got.
func (o *owner) use(while time.Duration) {
	got := min(o.cpus-o.wants, o.cpus)
	got = max(got, o.cpus/2*min(1, o.wants))
	o.own += time.Duration(got * float64(while))
	o.idle += time.Duration(max(0, o.cpus-o.wants-got) * float64(while))
}

// rest has only the owner use the machine.
func (o *owner) rest(while time.Duration) {
	o.idle += time.Duration((o.cpus - o.wants) * float64(while))
}

// A process that would compute all the time takes what the owner leaves it, and next to nothing of a machine that
// the owner keeps busy.
func TestCourtesy(t *testing.T) {
	const cpus, long, piece = 2, time.Minute, 10 * time.Millisecond
	for _, c := range []struct {
		name        string
		wants       float64
		least, most float64 // processors used in the end
		away        bool
	}{
		{name: "an owner who reads", wants: 0.05, least: 1.6, most: 1.95},
		{name: "an owner with one busy processor", wants: 1, least: 0.6, most: 1},
		{name: "an owner who compiles", wants: 2, least: 0.015, most: 0.04},
		{name: "an owner who compiles and has gone", wants: 2, least: 0.9, most: 2, away: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &owner{cpus: cpus, wants: c.wants}
				polite := &courtesy{
					due:  func() bool { return !c.away },
					cpus: cpus,
					look: func() (Processors, error) { return Processors{time.Now(), o.own, o.idle}, nil },
				}
				begun := time.Now()
				var before time.Duration // used in the first half, while it finds out
				for time.Since(begun) < long {
					nap := polite.nap()
					if nap > 0 {
						o.rest(nap)
						time.Sleep(nap)
					} else {
						o.use(piece)
						time.Sleep(piece)
					}
					if time.Since(begun) < long/2 {
						before = o.own
					}
				}
				if got := (o.own - before).Seconds() / (long / 2).Seconds(); got < c.least || got > c.most {
					t.Errorf("it uses %.3f processors, want %v to %v", got, c.least, c.most)
				}
			})
		})
	}
}

// What is small passes at once, and what cannot be known is not waited for.
func TestCourtesyPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := Processors{}
		c := &courtesy{cpus: 2, due: func() bool { return true }, look: func() (Processors, error) {
			busy.At = time.Now()
			return busy, nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			if err := c.wait(ctx); err != nil {
				t.Fatal(err)
			}
			busy.Own += mostSpare / 4
			time.Sleep(lookEach)
		}
		busy.Own += time.Hour
		time.Sleep(lookEach)
		ended := make(chan error)
		go func() { ended <- c.wait(ctx) }()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("after an hour's work it need not wait: %v", err)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		c.look = func() (Processors, error) { return Processors{}, errors.ErrUnsupported }
		time.Sleep(lookAnew)
		if err := c.wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// However much this process has used at once, what is to be transferred goes on before its peer takes it for dead.
func TestLongestDebt(t *testing.T) {
	b := budget{}.after(time.Second, time.Minute, 0, 2)
	if still := time.Duration(float64(-b.spare) / b.rate); still <= 0 || still > longestDebt {
		t.Errorf("it stands still for %v, want up to %v", still, longestDebt)
	}
}
