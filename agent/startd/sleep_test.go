package startd

import (
	"testing"
	"testing/synctest"

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
