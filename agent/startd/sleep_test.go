package startd

import (
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
)

// countedConn counts how often it is to be made anew.
type countedConn struct {
	bus.Conn
	again *int
}

func (c countedConn) ForceReconnect() error { *c.again++; return nil }

// A connection that has slept is most likely dead, and nobody waits until that is found out.
func TestConnectsAnewWhenAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bareDaemon(t)
		d.owner.watcher = &handWatcher{}
		var again int
		d.cfg.Bus = countedConn{d.cfg.Bus, &again}
		for _, k := range d.keepers {
			close(k.closed) // no keeper runs
		}
		if d.sleep(true); again != 0 {
			t.Errorf("before the sleep it has connected anew")
		}
		if d.sleep(false); again != 1 {
			t.Errorf("after the sleep it has connected anew %d times", again)
		}
	})
}

// dialingConn is in the middle of a dial, which takes its time.
type dialingConn struct{ bus.Conn }

func (dialingConn) ForceReconnect() error { <-time.After(time.Minute); return nil }

// A dial to a network that is not there yet does not keep the jobs from going on after a sleep.
func TestWakesWhileItDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bareDaemon(t)
		d.owner.watcher = &handWatcher{}
		d.cfg.Bus = dialingConn{d.cfg.Bus}
		for _, k := range d.keepers {
			close(k.closed) // no keeper runs
		}
		begun := time.Now()
		if d.sleep(false); time.Since(begun) != reconnectWait {
			t.Errorf("the jobs go on after %v, want %v", time.Since(begun), reconnectWait)
		}
		d.waking.Wait()
	})
}
