//go:build linux

package server_test

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/server"
	"skua/policy/classad"
)

// An administrator puts a runtime root into the pool, and replaces and removes it. Every user sees what there is and may
// submit jobs with it, which keep what they have; with other people's files nobody may.
func TestPoolRuntimes(t *testing.T) {
	s := settings(t)
	h, stop := startHead(t, s)
	admin := func(q server.AdminRequest) (server.AdminAnswer, error) {
		t.Helper()
		return server.Admin(t.Context(), s.Data, q)
	}
	add := func(name, content string, replace bool) (server.AdminAnswer, error) {
		t.Helper()
		q := server.AdminRequest{Do: server.AdminStoreRuntime, Replace: replace, Runtime: wire.RuntimeRow{
			Name: name, Digest: blob.Sum([]byte(content)), Size: int64(len(content)), Unpacked: 1000, By: "root",
		}}
		a, err := admin(q)
		if err != nil {
			return a, err
		}
		if a.Store != nil {
			put(t, a.Store, content)
		}
		q.Do = server.AdminAddRuntime
		return admin(q)
	}
	join := func(kind trust.Kind, name string) *member {
		t.Helper()
		spec := trust.TokenSpec{Kind: kind, TTL: time.Hour, Approve: true}
		if kind == trust.User {
			spec.Name = name // a machine gives its own
		}
		text, err := h.Token(spec, "")
		if err != nil {
			t.Fatal(err)
		}
		token, err := trust.ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		m, err := membership.Join(t.Context(), t.TempDir(), token, name)
		return connect(t, m, err)
	}
	ann, bob, desk := join(trust.User, "ann"), join(trust.User, "bob"), join(trust.Agent, "desk")
	names := func(m *member, want ...string) []wire.RuntimeRow {
		t.Helper()
		var rows []wire.RuntimeRow
		var got []string
		for _, text := range m.query(wire.Query{Kind: wire.QueryRuntimes}).Rows {
			var r wire.RuntimeRow
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			rows, got = append(rows, r), append(got, r.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the pool has %q, want %q", got, want)
		}
		return rows
	}
	submit := func(m *member, f job.File) *wire.Failure {
		t.Helper()
		ad, err := classad.ParseAd(`[ Cmd = "sim"; RuntimeRoot = "pool:debian12"; Requirements = TARGET.Memory > 1 ]`)
		if err != nil {
			t.Fatal(err)
		}
		f.Name = job.RuntimeFile
		return ask[wire.Submitted](m, wire.UserSubject(job.UserID(m.ID), wire.VerbSubmit), wire.Submit{
			V: wire.Version, Request: rand.Text(), Ad: ad, Procs: []*classad.Ad{classad.NewAd()}, Inputs: [][]job.File{{f}},
		}).Fail
	}

	live := func(when string, content string, want bool) {
		t.Helper()
		all, err := h.LiveBlobs(t.Context())
		if got := all[blob.Sum([]byte(content))]; err != nil || got != want {
			t.Errorf("%s %q is kept: %v (%v), want %v", when, content, got, err, want)
		}
	}

	names(ann)
	for _, tt := range []struct {
		do   server.AdminVerb
		row  wire.RuntimeRow
		want string
	}{
		{server.AdminStoreRuntime, wire.RuntimeRow{Name: "Debian", Digest: blob.Sum(nil)}, "cannot be the name"},
		{server.AdminStoreRuntime, wire.RuntimeRow{Name: "debian", Digest: "x"}, "bad digest"},
		{server.AdminAddRuntime, wire.RuntimeRow{Name: "debian", Digest: blob.Sum([]byte("nowhere"))}, "is not here"},
		{server.AdminRemoveRuntime, wire.RuntimeRow{Name: "debian"}, `no runtime root "debian"`},
	} {
		if _, err := admin(server.AdminRequest{Do: tt.do, Runtime: tt.row}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %v: %v, want %q", tt.do, tt.row, err, tt.want)
		}
	}
	const old, newer = "the archive of debian12", "the archive of debian13"
	if a, err := add("debian12", old, false); err != nil || !a.Changed {
		t.Fatalf("add: %+v, %v", a, err)
	}
	if a, err := add("debian12", old, false); err != nil || a.Changed {
		t.Errorf("the same again: %+v, %v", a, err)
	}
	if _, err := add("debian12", "another", false); err == nil || !strings.Contains(err.Error(), "there is another") {
		t.Errorf("another one: %v", err)
	}
	if _, err := os.Stat(blobPath(s, blob.Sum([]byte("another")))); err == nil {
		t.Error("what cannot be added was stored all the same")
	}
	row := names(bob, "debian12")[0]
	if row.Digest != blob.Sum([]byte(old)) || row.Size != int64(len(old)) || row.Unpacked != 1000 || row.By != "root" || time.Since(row.Added) > time.Hour {
		t.Errorf("bob sees %+v", row)
	}

	live("with a name", old, true)

	// Both may have it, though neither has uploaded it. What is ann's own is not bob's.
	root := job.File{Digest: row.Digest, Size: row.Size}
	offers := desk.listenForOffers()
	if fail := submit(bob, root); fail != nil {
		t.Fatal(fail.What)
	}
	own := ann.mustPut(ann.query(wire.Query{Kind: wire.QueryUpload}).Capability, "ann's own")
	if fail := submit(bob, own); fail == nil || !strings.Contains(fail.What, "has not been uploaded") {
		t.Errorf("bob submits a job with ann's file: %+v", fail)
	}
	if got, err := ann.get(ann.query(wire.Query{Kind: wire.QueryFetch}).Capability, root.Digest); err != nil || got != old {
		t.Errorf("ann reads %q, %v", got, err)
	}
	if got, err := bob.get(bob.query(wire.Query{Kind: wire.QueryFetch}).Capability, own.Digest); err == nil {
		t.Errorf("bob reads ann's file: %q", got)
	}

	// Another one takes its place, the matchmaker is started again, and then there is none. The job has the first all along.
	if a, err := add("debian12", newer, true); err != nil || !a.Changed {
		t.Errorf("replace: %+v, %v", a, err)
	}
	stop()
	h, _ = startHead(t, s)
	awaitConnected(t, desk)
	awaitConnected(t, ann)
	if row := names(ann, "debian12")[0]; row.Digest != blob.Sum([]byte(newer)) {
		t.Errorf("after a restart the name is %+v", row)
	}
	live("with a name", newer, true)
	if _, err := admin(server.AdminRequest{Do: server.AdminRemoveRuntime, Runtime: wire.RuntimeRow{Name: "debian12"}}); err != nil {
		t.Error(err)
	}
	names(ann)
	live("without a name", newer, false)
	live("without a name, but with a job", old, true)
	desk.advertise()
	o := await(t, offers, "an offer")
	if len(o.Inputs) != 1 || o.Inputs[0].Name != job.RuntimeFile || o.Inputs[0].Digest != root.Digest {
		t.Errorf("the job comes with %+v", o.Inputs)
	}
	ref := wire.ClaimRef{Job: o.Job, Claim: o.Claim, Epoch: o.Epoch}
	if g := ask[wire.Grant](desk, wire.AgentSubject(job.AgentID(desk.ID), wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: ref}); g.Gone {
		t.Fatal("the claim was not granted")
	}
	if got, err := desk.get(o.Read, root.Digest); err != nil || got != old {
		t.Errorf("the machine gets %q, %v", got, err)
	}
}

// put brings an archive to the file service as an administrator does.
func put(t *testing.T, s *server.Store, content string) {
	t.Helper()
	cfg, err := trust.ClientTLS(s.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	web := transfer.NewHTTP(cfg)
	defer web.CloseIdleConnections()
	c, err := transfer.New(transfer.Config{BaseURL: s.URL, HTTP: web})
	if err != nil {
		t.Fatal(err)
	}
	bring := func(content string) error {
		return c.Put(t.Context(), s.Capability, blob.Sum([]byte(content)), int64(len(content)), strings.NewReader(content), nil)
	}
	if err := bring(content); err != nil {
		t.Fatal(err)
	}
	if err := bring("other"); err == nil {
		t.Error("the capability is good for another file")
	}
}

// blobPath is where a matchmaker keeps a blob.
func blobPath(s server.Settings, d blob.Digest) string {
	return filepath.Join(s.Data, "blobs", "data", string(d[:2]), string(d))
}
