package server

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/trust"
	"skua/matchmaker/broker"
)

type noMembers struct{}

func (noMembers) Lookup(string) (trust.Member, bool) { return trust.Member{}, false }

// A matchmaker that has led before, and cannot read the queue again, does not keep the others from leading.
func TestWhoCannotLeadLetsOthers(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Config{Dir: t.TempDir(), Roster: noMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	table, err := bus.OpenBucket(t.Context(), b.Conn(), bus.BucketConfig{Name: headsBucket})
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.OpenCapabilityKey(filepath.Join(t.TempDir(), "capability.key"))
	if err != nil {
		t.Fatal(err)
	}
	h := pastHead(t, key, forgetfulLog(t, 25), 1, 7, 0)
	h.cluster = &cluster{heads: newHeads(table, "https://here", h.log), log: h.log, spent: true}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.lead(ctx); err != nil {
		t.Errorf("it ends with %v, want that another may lead", err)
	}
	if !h.cluster.spent {
		t.Error("the queue that has led is taken for a new one")
	}
}
