//go:build linux || windows

package starter

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An init is told often that its agent lives, so that its job runs on, and seldom while the agent wants that to stand still.
func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, its := net.Pipe()
		i := newInit(nil, "c1", noHandle)
		i.conn = ours
		var mu sync.Mutex
		var beats []bool // whether the job is to stand still
		i.wg.Go(func() {
			for {
				m, err := readMessage(its)
				if err != nil {
					return
				}
				if m.Op == opBeat {
					mu.Lock()
					beats = append(beats, m.Frozen)
					mu.Unlock()
				} else if writeMessage(its, &message{ID: m.ID}) != nil {
					return
				}
			}
		})
		i.wg.Go(i.read)
		i.wg.Go(i.beat)
		defer i.Close()
		told := func(within time.Duration, frozen bool, least, most int) {
			t.Helper()
			time.Sleep(within)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(beats) < least || len(beats) > most {
				t.Errorf("%d signs of life in %v, want %d to %d", len(beats), within, least, most)
			}
			for _, b := range beats {
				if b != frozen {
					t.Errorf("an init is told that its job is to stand still: %v, want %v", b, frozen)
				}
			}
			beats = nil
		}
		wish := func(frozen bool) {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.wish = frozen
		}
		told(10*time.Second, false, 19, 20)
		wish(true)
		told(beatEvery, true, 1, 1)
		told(10*time.Minute, true, 19, 20)
		for range 3 {
			if err := i.Grant(time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		told(beatEvery, true, 1, 1) // it may have begun something with another wish of ours
		told(10*time.Minute, true, 19, 20)
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
		told(10*time.Second, false, 19, 20)
	})
}

// A beat that has waited for its turn to write says what we want by then: what it would have said before might be heard
// after a thaw.
func TestBeatSaysTheLastWish(t *testing.T) {
	ours, its := net.Pipe()
	i := newInit(nil, "c1", noHandle)
	i.conn = ours
	defer its.Close()
	for range 20 {
		i.mu.Lock()
		i.wish = true
		i.mu.Unlock()
		i.writing.Lock()
		started := make(chan struct{})
		i.wg.Go(func() {
			close(started)
			i.sendBeat()
		})
		<-started
		runtime.Gosched() // the beat waits for its turn now, most probably
		i.mu.Lock()
		i.wish = false
		i.mu.Unlock()
		i.writing.Unlock()
		if m, err := readMessage(its); err != nil || m.Op != opBeat || m.Frozen {
			t.Fatalf("after a thaw the init is told: %+v, %v", m, err)
		}
		i.wg.Wait()
	}
}
