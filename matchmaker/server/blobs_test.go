package server

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/matchmaker/files"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// blobHead is as much of a Head as judges blobs, with one running job: its input, its image and a
// blob that is nobody's.
func blobHead(t *testing.T) (h *Head, id job.ID, input, stray blob.Digest, image blob.Digest, chunks []blob.Digest) {
	t.Helper()
	store, err := blob.OpenStore(blob.StoreConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), queue.Config{Log: bus.NewMemoryLog()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	keys := t.TempDir()
	master, err := trust.OpenMasterKey(filepath.Join(keys, "master"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := trust.OpenCapabilityKey(filepath.Join(keys, "signer"))
	if err != nil {
		t.Fatal(err)
	}
	roster, err := trust.OpenRoster(filepath.Join(keys, "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	h = &Head{store: store, master: master, signer: signer, roster: roster, trees: files.NewTrees(store), log: slog.New(slog.DiscardHandler)}
	h.queue.Store(q)

	put := func(text string) blob.Digest {
		d, err := store.PutBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	input, stray = put("input"), put("stray")
	r, err := q.Submit(t.Context(), &job.Submitted{
		User: "u1", Request: "r", Ad: classad.NewAd(), Procs: []*classad.Ad{classad.NewAd()},
		Inputs: [][]job.File{{{Name: "in", Digest: input}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id = job.ID{Cluster: r.Cluster}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state"), []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	sink, key := blob.Local{Store: store}, h.imageKey(id)
	m, err := blob.Pack(t.Context(), blob.PackConfig{Dir: dir, Key: key, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	if image, err = blob.SaveManifest(t.Context(), sink, key, m); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Chunks {
		chunks = append(chunks, c.Digest)
	}
	if err := q.Commit(t.Context(),
		&job.Offered{Job: id, Claim: "c1", Epoch: 1, Agent: "a", Slot: "slot1@a", Machine: "a"},
		&job.Started{Job: id, Epoch: 1},
		&job.Checkpointed{Job: id, Epoch: 1, Image: job.Image{Kind: job.CRIUImage, Digest: image}},
	); err != nil {
		t.Fatal(err)
	}
	return h, id, input, stray, image, chunks
}

func TestLiveBlobs(t *testing.T) {
	h, id, input, _, image, chunks := blobHead(t)
	live := func(at time.Time) []blob.Digest {
		t.Helper()
		set, err := h.liveBlobs(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(set))
	}
	want := func(when string, got []blob.Digest, want ...blob.Digest) {
		t.Helper()
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: live are %v, want %v", when, got, want)
		}
	}
	now := time.Now()
	want("while it runs", live(now), append(slices.Clone(chunks), input, image)...)

	output, first := blob.Sum([]byte("output")), blob.Sum([]byte("first"))
	if err := h.queue.Load().Commit(t.Context(),
		&job.Requeued{Job: id, Epoch: 1, Result: job.Result{Outputs: []job.File{{Name: "out", Digest: first}}}},
		&job.Offered{Job: id, Claim: "c2", Epoch: 2, Agent: "a", Slot: "slot1@a", Machine: "a"},
		&job.Started{Job: id, Epoch: 2},
	); err != nil {
		t.Fatal(err)
	}
	want("while it runs again", live(now.Add(keepResults+time.Hour)), input, first)
	if err := h.queue.Load().Commit(t.Context(), &job.Ended{Job: id, Epoch: 2, Result: job.Result{Outputs: []job.File{{Name: "out", Digest: output}}}}); err != nil {
		t.Fatal(err)
	}
	want("completed", live(now), output)
	want("after ten days, of which the log does not say that they are over", live(now.Add(keepResults+time.Hour)), output)
	if err := h.queue.Load().Commit(t.Context(), &job.Delivered{Job: id}); err != nil {
		t.Fatal(err)
	}
	want("delivered", live(now))
}

func TestLiveBlobsWithADamagedImage(t *testing.T) {
	h, _, input, _, image, _ := blobHead(t)
	if err := h.store.Remove(image); err != nil {
		t.Fatal(err)
	}
	live, err := h.liveBlobs(t.Context(), time.Now())
	if err != nil || !live[input] {
		t.Errorf("one damaged image gave %v, %v", live, err)
	}
}

// TestWholeImagesAreLeftAlone: a matchmaker that mirrors another reads an image until it has all of it, and for an hour not
// again.
func TestWholeImagesAreLeftAlone(t *testing.T) {
	h, id, input, _, image, chunks := blobHead(t)
	h.others = &others{store: h.store}
	whole, now := map[queue.Need]time.Time{}, time.Now()
	lacking := func(when string, after time.Duration, want ...blob.Digest) {
		t.Helper()
		needs, err := h.lacking(t.Context(), now.Add(after), whole)
		if err != nil {
			t.Fatal(err)
		}
		var got []blob.Digest
		for n := range needs {
			got = append(got, n.Digest)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: looked at are %v, want %v", when, got, want)
		}
	}
	all := append(slices.Clone(chunks), input, image)
	lacking("before its chunks are here for the user", 0, all...)
	lacking("once more", mirrorEvery, all...)
	for _, c := range chunks {
		if err := h.store.Hold(c, "u1"); err != nil {
			t.Fatal(err)
		}
	}
	lacking("whole", 2*mirrorEvery, input, image)
	if err := h.store.Remove(chunks[0]); err != nil {
		t.Fatal(err)
	}
	lacking("for an hour", wholeFor, input, image)
	lacking("an hour later", 2*mirrorEvery+wholeFor, all...)
	if err := h.queue.Load().Commit(t.Context(), &job.Withdrawn{Job: id}); err != nil {
		t.Fatal(err)
	}
	whole[queue.Need{Digest: image, User: "u1"}] = now
	if lacking("when the job is gone", 0); len(whole) != 0 {
		t.Errorf("%v is remembered", whole)
	}
}

func TestAuthorise(t *testing.T) {
	h, id, input, stray, image, chunks := blobHead(t)
	run := trust.Capability{User: "u1", Job: id.String(), Epoch: 1, Mode: trust.Read, Expires: time.Now().Add(time.Hour)}
	with := func(change func(*trust.Capability)) trust.Capability {
		c := run
		change(&c)
		return c
	}
	write := func(c *trust.Capability) { c.Mode = trust.Write }
	own := func(c *trust.Capability) { c.Job, c.Epoch = "", 0 }
	for _, tt := range []struct {
		name string
		cap  trust.Capability
		mode files.Mode
		d    blob.Digest
		ok   bool
	}{
		{"a run reads an input", run, files.Read, input, true},
		{"and its image", run, files.Read, image, true},
		{"and a chunk of it", run, files.Read, chunks[0], true},
		{"but nothing else", run, files.Read, stray, false},
		{"nor does it write with that", run, files.Write, input, false},
		{"a run writes", with(write), files.Write, stray, true},
		{"but does not read with that", with(write), files.Read, input, false},
		{"an earlier run is nobody", with(func(c *trust.Capability) { c.Epoch = 0 }), files.Read, input, false},
		{"so is a run of another user", with(func(c *trust.Capability) { c.User = "u2" }), files.Read, input, false},
		{"and of a job that is not there", with(func(c *trust.Capability) { c.Job = "9.9" }), files.Read, input, false},
		{"one file only", with(func(c *trust.Capability) { c.Digest = string(input) }), files.Read, input, true},
		{"another file", with(func(c *trust.Capability) { c.Digest = string(input) }), files.Read, image, false},
		{"a user reads", with(own), files.Read, stray, true}, // the file service knows what is the user's
		{"expired", with(func(c *trust.Capability) { c.Expires = time.Now().Add(-time.Hour) }), files.Read, input, false},
	} {
		token, err := h.signer.Encode(tt.cap)
		if err != nil {
			t.Fatal(err)
		}
		g, err := h.authorise(token, tt.mode, tt.d)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && g.User != "u1" {
			t.Errorf("%s: in the name of %q", tt.name, g.User)
		}
	}
	if _, err := h.authorise("forged", files.Read, input); err == nil {
		t.Error("a forged capability was accepted")
	}
}

// Capabilities of members who are put out are worth nothing from then on.
func TestCapabilitiesOfWhoWasPutOut(t *testing.T) {
	h, id, input, stray, _, _ := blobHead(t)
	join := func(kind trust.Kind, name string) trust.Member {
		identity, err := trust.CreateIdentity(filepath.Join(t.TempDir(), "key"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := h.roster.Admit(kind, identity.PublicKey(), name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ann, desk := join(trust.User, "ann"), join(trust.Agent, "desk")
	if err := h.queue.Load().Commit(t.Context(),
		&job.Evicted{Job: id, Epoch: 1},
		&job.Offered{Job: id, Claim: "c2", Epoch: 2, Agent: job.AgentID(desk.ID), Slot: "slot1@desk", Machine: "desk"},
		&job.Started{Job: id, Epoch: 2},
	); err != nil {
		t.Fatal(err)
	}
	good := func(c trust.Capability, mode files.Mode, d blob.Digest) bool {
		c.Expires = time.Now().Add(time.Hour)
		token, err := h.signer.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.authorise(token, mode, d)
		return err == nil
	}
	tests := []struct {
		name string
		cap  trust.Capability
		mode files.Mode
		d    blob.Digest
		then bool // when ann and the machine have been put out
	}{
		{"the user reads", trust.Capability{User: ann.ID, Mode: trust.Read}, files.Read, stray, false},
		{"the user writes", trust.Capability{User: ann.ID, Mode: trust.Write}, files.Write, stray, false},
		{"the run reads", trust.Capability{User: "u1", Job: id.String(), Epoch: 2, Mode: trust.Read}, files.Read, input, false},
		{"the run writes", trust.Capability{User: "u1", Job: id.String(), Epoch: 2, Mode: trust.Write}, files.Write, stray, false},
		{"another user reads", trust.Capability{User: "u2", Mode: trust.Read}, files.Read, stray, true},
		{"a matchmaker fetches a file of the user's", trust.Capability{User: ann.ID, Digest: string(stray), Mode: trust.Read}, files.Read, stray, true},
		{"a matchmaker fetches what is everybody's", trust.Capability{User: everyone, Digest: string(stray), Mode: trust.Read}, files.Read, stray, true},
		{"a runtime root is added", trust.Capability{User: string(files.Pool), Digest: string(stray), Mode: trust.Write}, files.Write, stray, true},
	}
	for _, tt := range tests {
		if !good(tt.cap, tt.mode, tt.d) {
			t.Errorf("at first, %s: refused", tt.name)
		}
	}
	for _, m := range []trust.Member{ann, desk} {
		if _, err := h.roster.Revoke(m.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range tests {
		if got := good(tt.cap, tt.mode, tt.d); got != tt.then {
			t.Errorf("after the revocation, %s: %v, want %v", tt.name, got, tt.then)
		}
	}
}
