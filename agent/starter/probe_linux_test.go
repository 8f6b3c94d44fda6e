package starter

import (
	"context"
	"os"
	"testing"
)

// What a self test has left whose agent was killed, or whose machine lost its power, goes before the next.
func TestSelfTestRemovesWhatTheOneBeforeLeft(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	const killed, lost = probeClaim + "killed", probeClaim + "lost"
	i := open(t, s, killed)
	runShell(t, i, "while :; do sleep 1; done")
	if err := i.Freeze(); err != nil {
		t.Fatal(err)
	}
	i.Close()
	if err := os.Mkdir(s.dir(lost), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Remove(killed) })
	stopped, stop := context.WithCancel(t.Context())
	stop() // the next one need not do anything
	s.Capabilities(stopped)
	if conn, _, err := dialInit(s.dir(killed), s.uid); err == nil {
		conn.Close()
		t.Error("the init is still there")
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("there are %v (%v)", entries, err)
	}
}
