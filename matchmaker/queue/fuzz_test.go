package queue

import (
	"bytes"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
)

// FuzzReplay opens logs of arbitrary records, one a line. Whatever they are, the queue opens or says
// which event is wrong, and a queue that opens can be opened again.
func FuzzReplay(f *testing.F) {
	log := bus.NewMemoryLog()
	q, err := Open(f.Context(), Config{Log: log})
	if err != nil {
		f.Fatal(err)
	}
	go q.Run(f.Context())
	id := job.ID{Cluster: submit(f, q, "ann", 2)}
	for _, b := range []job.Body{
		&job.Offered{Job: id, Claim: "c", Epoch: 1, Agent: "a", Machine: "m"}, &job.Started{Job: id, Epoch: 1},
		&job.Paused{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Digest: "d"}},
		&job.Lapsed{Job: id, Epoch: 1}, &job.Stranded{Job: id, Epoch: 1}, &job.Stranded{Job: id, Epoch: 1, Over: true}, &job.Revived{Job: id, Epoch: 1}, &job.RestoreFailed{Job: id, Epoch: 1, Digest: "d"}, &job.ImageDropped{Job: id, Digest: "d"},
		&job.Ended{Job: id, Epoch: 1}, &job.Delivered{Job: id},
	} {
		commit(f, q, b)
	}
	late := withTable(f, described(f, "bob", "", 5))
	late.Ad.SetInt("JobMaterializeLimit", 2)
	if _, err := q.Submit(f.Context(), late); err != nil {
		f.Fatal(err)
	}
	for _, b := range []job.Body{
		&job.Withdrawn{Job: job.ID{Cluster: 2}}, &job.Opened{Cluster: 2, From: 2, Upto: 3},
		&job.HeldBack{Job: job.ID{Cluster: 2, Proc: 1}}, &job.Released{Job: job.ID{Cluster: 2, Proc: 1}}, &job.Closed{Cluster: 2},
	} {
		commit(f, q, b)
	}
	var all [][]byte
	if err := log.Read(f.Context(), 1, func(_ uint64, data []byte) error {
		all = append(all, data)
		f.Add(bytes.Join(all, []byte("\n")))
		return nil
	}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		log := bus.NewMemoryLog()
		for i, record := range bytes.Split(text, []byte("\n")) {
			if i == bus.MaxBatch {
				return
			}
			if _, err := log.Append(t.Context(), uint64(i), [][]byte{record}); err != nil {
				return
			}
		}
		first, err := Open(t.Context(), Config{Log: log})
		if err != nil {
			return
		}
		again, err := Open(t.Context(), Config{Log: log})
		if err != nil {
			t.Fatalf("what was read once is refused: %v", err)
		}
		first.state.seq++ // the second leader's event
		if a, b := dump(t, first.state), dump(t, again.state); a != b {
			t.Errorf("the same log gave\n%s\nand\n%s", a, b)
		}
	})
}
