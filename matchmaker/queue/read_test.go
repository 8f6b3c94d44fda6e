package queue

import (
	"fmt"
	"testing"

	"skua/internal/bus"
)

func TestEvents(t *testing.T) {
	log := bus.NewMemoryLog()
	q, _ := start(t, Config{Log: log})
	for range 3 {
		submit(t, q, "ann", 1)
		submit(t, q, "bob", 1)
	}
	read := func(q *Queue, limit int) string {
		t.Helper()
		var seqs []uint64
		for after := uint64(0); ; {
			p, err := q.Events(t.Context(), "ann", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Events) > limit || p.Next < after {
				t.Fatalf("after %d: %d events, next %d", after, len(p.Events), p.Next)
			}
			for _, ev := range p.Events {
				seqs = append(seqs, ev.Seq)
			}
			after = p.Next
			if !p.More {
				return fmt.Sprint(seqs)
			}
		}
	}
	const want = "[2 4 6]"
	for _, limit := range []int{1, 2, 100} {
		if got := read(q, limit); got != want {
			t.Errorf("from memory, %d at a time: %s, want %s", limit, got, want)
		}
	}
	q.recent = recent{}
	submit(t, q, "bob", 1)
	for _, limit := range []int{1, 2, 100} {
		if got := read(q, limit); got != want {
			t.Errorf("from the log, %d at a time: %s, want %s", limit, got, want)
		}
	}
}

func TestLastTellsOfMore(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	seq, more := q.Last()
	select {
	case <-more:
		t.Fatal("there is more before anything happened")
	default:
	}
	submit(t, q, "ann", 1)
	<-more
	if now, _ := q.Last(); now != seq+1 {
		t.Errorf("the last event is %d, want %d", now, seq+1)
	}
}
