//go:build linux

package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/quantity"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/server"
	"skua/policy/classad"
)

// patience bounds every wait of these tests; nothing in them takes nearly as long.
const patience = 30 * time.Second

// startHead runs a matchmaker with the settings until the test ends or stop is called.
func startHead(t testing.TB, s server.Settings) (h *server.Head, stop func()) {
	t.Helper()
	h, err := server.NewHead(server.HeadConfig{Settings: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the matchmaker ended with %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-h.Ready():
	case err := <-done:
		t.Fatalf("the matchmaker did not start: %v", err)
	case <-time.After(patience):
		t.Fatal("the matchmaker does not get ready")
	}
	return h, stop
}

// settings are those of a matchmaker on loopback, at a port that stays the same over restarts. The
// directory is a short one, since socket names must be.
func settings(t testing.TB) server.Settings {
	t.Helper()
	dir, err := os.MkdirTemp("", "skua")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return server.Settings{
		Data: filepath.Join(dir, "mm"), Listen: l.Addr().String(),
		Leases: server.LeaseSettings{Lease: quantity.Duration(10 * time.Second)},
		Limits: server.LimitSettings{DiskFree: 1},
	}
}

// member is somebody with a place in the pool and a connection.
type member struct {
	t testing.TB
	*membership.Membership
	conn  *bus.Client
	files *transfer.Client
}

func connect(t testing.TB, m *membership.Membership, err error) *member {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := m.Dial(bus.Config{FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	files, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	return &member{t, m, conn, files}
}

// ask makes a request and decodes the answer.
func ask[A any](m *member, subject string, message any) A {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	data, err := wire.Encode(message)
	if err != nil {
		m.t.Fatal(err)
	}
	answer, err := m.conn.Request(ctx, subject, data)
	if err != nil {
		m.t.Fatal(err)
	}
	a, err := wire.Decode[A](answer)
	if err != nil {
		m.t.Fatal(err)
	}
	return a
}

func (m *member) query(q wire.Query) wire.QueryResult {
	m.t.Helper()
	q.V = wire.Version
	r := ask[wire.QueryResult](m, wire.UserSubject(job.UserID(m.ID), wire.VerbQuery), q)
	if r.Fail != nil {
		m.t.Fatal(r.Fail.What)
	}
	return r
}

func (m *member) put(capability, content string) (blob.Digest, error) {
	d := blob.Sum([]byte(content))
	return d, m.files.Put(m.t.Context(), capability, d, int64(len(content)), strings.NewReader(content), nil)
}

func (m *member) mustPut(capability, content string) job.File {
	m.t.Helper()
	d, err := m.put(capability, content)
	if err != nil {
		m.t.Fatal(err)
	}
	return job.File{Name: "file", Digest: d, Size: int64(len(content))}
}

func (m *member) get(capability string, d blob.Digest) (string, error) {
	data, err := m.files.Bytes(m.t.Context(), capability, d, 1<<20)
	return string(data), err
}

// listenForOffers makes a member an agent with one slot.
func (m *member) listenForOffers() <-chan wire.Offer {
	m.t.Helper()
	offers := make(chan wire.Offer, 10)
	if _, err := m.conn.Subscribe(wire.OfferSubject(job.AgentID(m.ID)), func(msg bus.Msg) {
		if o, err := wire.Decode[wire.Offer](msg.Data); err == nil {
			offers <- o
		}
	}); err != nil {
		m.t.Fatal(err)
	}
	return offers
}

func (m *member) advertise() {
	m.t.Helper()
	ad, err := classad.ParseAd(`[ Requirements = true; Memory = 1024; State = "Unclaimed"; Name = "slot1@desk"; Machine = "desk" ]`)
	if err != nil {
		m.t.Fatal(err)
	}
	data, err := wire.Encode(wire.Ad{V: wire.Version, Machine: "desk", Slots: []*classad.Ad{ad}})
	if err == nil {
		err = m.conn.Publish(wire.AdSubject(job.AgentID(m.ID)), data)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// TestWholeMatchmaker runs a job through a real matchmaker, over TLS and websocket on loopback, with a
// restart in the middle.
func TestWholeMatchmaker(t *testing.T) {
	s := settings(t)
	h, stop := startHead(t, s)

	// The user comes in over the socket, the machine with a token.
	m, err := membership.JoinLocal(t.Context(), t.TempDir(), h.LoginSocket())
	ann := connect(t, m, err)
	made, err := server.Admin(t.Context(), s.Data, server.AdminRequest{
		Do: server.AdminToken, Token: trust.TokenSpec{Kind: trust.Agent, TTL: time.Hour, Approve: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := trust.ParseToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	m, err = membership.Join(t.Context(), t.TempDir(), token, "desk")
	desk := connect(t, m, err)
	if _, err := membership.Join(t.Context(), t.TempDir(), token, "thief"); !strings.Contains(errText(err), "has been used") {
		t.Errorf("the token was good twice: %v", err)
	}
	offers := desk.listenForOffers()
	desk.advertise()

	// Upload, submit, offer, fetch.
	upload := ann.query(wire.Query{Kind: wire.QueryUpload}).Capability
	input := ann.mustPut(upload, "input data")
	secret := ann.mustPut(upload, "not of this job")
	ad, err := classad.ParseAd(`[ Cmd = "sim"; Requirements = TARGET.Memory > 1 ]`)
	if err != nil {
		t.Fatal(err)
	}
	submitted := ask[wire.Submitted](ann, wire.UserSubject(job.UserID(ann.ID), wire.VerbSubmit), wire.Submit{
		V: wire.Version, Request: rand.Text(), Ad: ad, Procs: []*classad.Ad{classad.NewAd()}, Inputs: [][]job.File{{input}},
	})
	if submitted.Fail != nil {
		t.Fatal(submitted.Fail.What)
	}
	o := await(t, offers, "an offer")
	ref := wire.ClaimRef{Job: o.Job, Claim: o.Claim, Epoch: o.Epoch}
	if owner, _ := o.Ad.Str("Owner"); owner != ann.Name {
		t.Errorf("the job belongs to %q, not %q", owner, ann.Name)
	}
	accept := func() wire.Grant {
		return ask[wire.Grant](desk, wire.AgentSubject(job.AgentID(desk.ID), wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: ref})
	}
	if g := accept(); g.Gone {
		t.Fatal("the claim was not granted")
	}
	if got, err := desk.get(o.Read, input.Digest); err != nil || got != "input data" {
		t.Errorf("the input came as %q, %v", got, err)
	}
	if _, err := desk.get(o.Read, secret.Digest); err == nil {
		t.Error("a job read a file of its user that is none of the job's")
	}
	if _, err := desk.get(o.Write, input.Digest); err == nil {
		t.Error("a capability to write was good for reading")
	}

	// An image: its manifest is the job's once it is reported, and so are its chunks.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state"), bytes.Repeat([]byte("state"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	key := blob.Key(o.Key)
	sink := &transfer.Sink{Client: desk.files, Capability: transfer.Always(o.Write)}
	manifest, err := blob.Pack(t.Context(), blob.PackConfig{Dir: dir, Key: key, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := blob.SaveManifest(t.Context(), sink, key, manifest)
	if err != nil {
		t.Fatal(err)
	}
	source := &transfer.Source{Client: desk.files, Capability: transfer.Always(o.Read)}
	if _, err := blob.LoadManifest(t.Context(), source, key, digest); err == nil {
		t.Error("an image was read that the log does not have")
	}
	ack := ask[wire.Ack](desk, wire.AgentSubject(job.AgentID(desk.ID), wire.VerbCheckpoint), wire.Checkpoint{
		V: wire.Version, ClaimRef: ref, Image: &job.Image{Kind: job.FileImage, Digest: digest, At: time.Now()},
	})
	if ack.Fail != nil || ack.Stale {
		t.Fatalf("the image got %+v", ack)
	}
	if _, err := blob.LoadManifest(t.Context(), source, key, digest); err != nil {
		t.Errorf("the image's manifest: %v", err)
	}
	for _, c := range manifest.Chunks {
		if _, err := desk.get(o.Read, c.Digest); err != nil {
			t.Errorf("a chunk of the image: %v", err)
		}
	}

	// The matchmaker goes away and comes back; the claim stands.
	stop()
	h, _ = startHead(t, s)
	awaitConnected(t, desk)
	awaitConnected(t, ann)
	if g := accept(); g.Gone {
		t.Error("the claim was gone after the restart")
	}

	// Result and outputs.
	output := desk.mustPut(o.Write, "output data")
	done := wire.Done{V: wire.Version, ClaimRef: ref, Outcome: wire.Exited, Result: &job.Result{ExitCode: 7, Outputs: []job.File{output}}}
	if ack := ask[wire.Ack](desk, wire.AgentSubject(job.AgentID(desk.ID), wire.VerbDone), done); ack.Fail != nil || ack.Stale {
		t.Fatalf("the result got %+v", ack)
	}
	if _, err := desk.put(o.Write, "too late"); err == nil {
		t.Error("a run that is over wrote a file")
	}
	fetched := ann.query(wire.Query{Kind: wire.QueryFetch})
	var row wire.JobRow
	if err := json.Unmarshal(fetched.Rows[0], &row); err != nil || len(row.Outputs) != 1 {
		t.Fatalf("to fetch: %s, %v", fetched.Rows, err)
	}
	if code, _ := row.Ad.Int("ExitCode"); code != 7 {
		t.Errorf("exit code %d", code)
	}
	if got, err := ann.get(fetched.Capability, row.Outputs[0].Digest); err != nil || got != "output data" {
		t.Errorf("the output came as %q, %v", got, err)
	}

	// The jobs of a user who is put out are held.
	ad, err = classad.ParseAd(`[ Cmd = "sim"; Requirements = false ]`)
	if err != nil {
		t.Fatal(err)
	}
	submitted = ask[wire.Submitted](ann, wire.UserSubject(job.UserID(ann.ID), wire.VerbSubmit), wire.Submit{
		V: wire.Version, Request: rand.Text(), Ad: ad, Procs: []*classad.Ad{classad.NewAd()},
	})
	if submitted.Fail != nil {
		t.Fatal(submitted.Fail.What)
	}
	if _, err := server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminRevoke, ID: ann.ID}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if j, ok := h.Queue().Job(job.ID{Cluster: submitted.Cluster}); ok && j.State == job.Held {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the job of a revoked user is not held")
		}
	}

	// A revoked machine is cut off.
	if _, err := server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminRevoke, ID: desk.ID}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); desk.conn.Connected(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a revoked machine is still connected")
		}
	}
}

func awaitConnected(t *testing.T, m *member) {
	t.Helper()
	for deadline := time.Now().Add(patience); !m.conn.Connected(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come back", m.Name)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Who was put out of the pool comes back with a new token, where she was before and with another key.
func TestBackWithANewToken(t *testing.T) {
	s := settings(t)
	h, _ := startHead(t, s)
	newToken := func(kind trust.Kind, name string) trust.Token {
		made, err := server.Admin(t.Context(), s.Data, server.AdminRequest{
			Do: server.AdminToken, Token: trust.TokenSpec{Kind: kind, Name: name, TTL: time.Hour, Approve: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		token, err := trust.ParseToken(made.Token)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, tt := range []struct {
		kind     trust.Kind
		of, name string // of the token, and what the member calls itself
	}{{trust.User, "ben", "ben"}, {trust.Agent, "", "desk"}} {
		dir := t.TempDir()
		m, err := membership.Join(t.Context(), dir, newToken(tt.kind, tt.of), tt.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminRevoke, ID: m.ID}); err != nil {
			t.Fatal(err)
		}
		approve := func() (server.AdminAnswer, error) {
			return server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminApprove, ID: m.ID})
		}
		if _, err := approve(); !strings.Contains(errText(err), "was put out of the pool") {
			t.Errorf("a %s that was put out is approved: %v", tt.kind, err)
		}
		revoked, err := os.ReadFile(membership.KeyPath(dir))
		if err != nil {
			t.Fatal(err)
		}

		// A token that is good for nothing changes nothing.
		bad := newToken(tt.kind, tt.of)
		bad.Secret = trust.NewSecret()
		if _, err := membership.Join(t.Context(), dir, bad, tt.name); err == nil {
			t.Errorf("a %s came back with a made-up token", tt.kind)
		}
		if key, err := os.ReadFile(membership.KeyPath(dir)); err != nil || !bytes.Equal(key, revoked) {
			t.Errorf("the key of a %s that did not join was replaced (%v)", tt.kind, err)
		}

		if m, err = membership.Join(t.Context(), dir, newToken(tt.kind, tt.of), tt.name); err != nil {
			t.Errorf("a %s that was put out does not come back with a new token: %v", tt.kind, err)
			continue
		}
		kept, err := membership.Open(dir)
		if err != nil || kept.ID != m.ID {
			t.Fatalf("what was kept is %+v, %v", kept, err)
		}
		connect(t, kept, nil)
		if a, err := approve(); err != nil || len(a.Members) != 1 || a.Members[0].Revoked {
			t.Errorf("approved were %+v, %v", a.Members, err)
		}
		if key, err := os.ReadFile(membership.KeyPath(dir) + ".revoked"); err != nil || !bytes.Equal(key, revoked) {
			t.Errorf("the key that was revoked is not put aside (%v)", err)
		}
	}

	members := func() int {
		a, err := server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminMembers})
		if err != nil {
			t.Fatal(err)
		}
		return len(a.Members)
	}
	refused, dir, before := errors.New("not this one"), filepath.Join(t.TempDir(), "new"), members()
	not := func(m *membership.Membership) error {
		if m.URL == "" || m.Fingerprint == "" {
			t.Errorf("of the pool is known: %+v", m)
		}
		return refused
	}
	if _, err := membership.JoinLocalIf(t.Context(), dir, h.LoginSocket(), not); !errors.Is(err, refused) {
		t.Errorf("a pool that does not fit: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a pool that does not fit was kept: %v", err)
	}
	if n := members(); n != before {
		t.Errorf("a pool that does not fit has %d members, %d before", n, before)
	}
	if m, err := membership.JoinLocalIf(t.Context(), dir, h.LoginSocket(), func(*membership.Membership) error { return nil }); err != nil || m.ID == "" || m.Name == "" {
		t.Errorf("in a pool that fits the user is %+v, %v", m, err)
	}

	other := newToken(trust.User, "ben")
	other.Fingerprint = strings.Repeat("ab", 32)
	if _, err := membership.Join(t.Context(), t.TempDir(), other, "ben"); !strings.Contains(errText(err), "another matchmaker answers") {
		t.Errorf("at a matchmaker of another pool: %v", err)
	}
}

// Whoever is a user of the pool becomes another one with a token for that one, and with another key.
func TestJoinAs(t *testing.T) {
	s := settings(t)
	h, _ := startHead(t, s)
	dir := t.TempDir()
	before, err := membership.JoinLocal(t.Context(), dir, h.LoginSocket())
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(membership.KeyPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	made, err := server.Admin(t.Context(), s.Data, server.AdminRequest{
		Do: server.AdminToken, Token: trust.TokenSpec{Kind: trust.User, Name: "ben", TTL: time.Hour, Approve: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := trust.ParseToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	var p *diag.Problem
	if _, err := membership.Join(t.Context(), dir, token, "ben"); !errors.As(err, &p) || !strings.Contains(p.Hint, "SKUA_HOME=DIR") {
		t.Errorf("with the key of %s: %v", before.Name, err)
	}
	if _, err := membership.JoinAs(t.Context(), dir, token, "ben"); err != nil {
		t.Fatal(err)
	}
	kept, err := membership.Open(dir)
	if err != nil || kept.Name != "ben" || kept.ID == before.ID {
		t.Fatalf("what was kept is %+v, %v", kept, err)
	}
	connect(t, kept, nil)
	if aside, err := os.ReadFile(membership.KeyPath(dir) + ".left"); err != nil || !bytes.Equal(aside, key) {
		t.Errorf("the key of before is not put aside (%v)", err)
	}
}

// An administrator sets a user's factor by name or id, and it outlives the matchmaker.
func TestFactorOfAUser(t *testing.T) {
	s := settings(t)
	h, stop := startHead(t, s)
	m, err := membership.JoinLocal(t.Context(), t.TempDir(), h.LoginSocket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := membership.JoinLocal(t.Context(), t.TempDir(), h.LoginSocket()); err != nil { // her second key
		t.Fatal(err)
	}
	set := func(who string, factor float64) ([]wire.UserRow, error) {
		a, err := server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminFactor, ID: who, Factor: factor})
		return a.Users, err
	}
	for _, tt := range []struct {
		who    string
		factor float64
		want   string // of the error
	}{
		{"nobody-at-all", 10, "there is no user"},
		{m.Name, 0.1, "is not a factor"},
		{m.Name, 10, ""},
		{m.ID, 20, ""},
	} {
		users, err := set(tt.who, tt.factor)
		if (err == nil) != (tt.want == "") || !strings.Contains(errText(err), tt.want) {
			t.Errorf("set-factor %s %v: %v", tt.who, tt.factor, err)
		}
		if err == nil && (len(users) != 1 || users[0].Name != m.Name || users[0].Factor != tt.factor) {
			t.Errorf("set-factor %s %v: %+v", tt.who, tt.factor, users)
		}
	}
	stop()
	startHead(t, s)
	a, err := server.Admin(t.Context(), s.Data, server.AdminRequest{Do: server.AdminUsers})
	if err != nil || len(a.Users) != 1 || a.Users[0].Factor != 20 {
		t.Errorf("after a restart: %+v, %v", a.Users, err)
	}
}

func TestSecondMatchmakerIsRefused(t *testing.T) {
	s := settings(t)
	startHead(t, s)
	run := func(s server.Settings) error {
		h, err := server.NewHead(server.HeadConfig{Settings: s})
		if err != nil {
			t.Fatal(err)
		}
		return h.Run(t.Context())
	}
	if err := run(s); !strings.Contains(errText(err), "listens on") {
		t.Errorf("on the same port: %v", err)
	}
	s.Listen = "127.0.0.1:0"
	if err := run(s); !strings.Contains(errText(err), "another matchmaker runs") {
		t.Errorf("on the same data: %v", err)
	}
	if _, err := membership.JoinLocal(t.Context(), t.TempDir(), filepath.Join(s.Data, "login.sock")); err != nil {
		t.Errorf("the first matchmaker's socket does not work any more: %v", err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	good := server.Settings{Data: "/tmp/x"}
	for name, spoil := range map[string]func(*server.Settings){
		"no data":        func(s *server.Settings) { s.Data = "" },
		"listen":         func(s *server.Settings) { s.Listen = "9618" },
		"plain url":      func(s *server.Settings) { s.URL = "http://head:9618" },
		"no url":         func(s *server.Settings) { s.URL = "head" },
		"negative limit": func(s *server.Settings) { s.Limits.Jobs = -1 },
		"renew too late": func(s *server.Settings) { s.Leases = server.LeaseSettings{Lease: 10e9, Renew: 9e9} },
		"no such limit":  func(s *server.Settings) { s.Concurrency = map[string]float64{"a.b.c": 1} },
		"below nothing":  func(s *server.Settings) { s.Concurrency = map[string]float64{"a": -1} },
		"a tiny factor":  func(s *server.Settings) { s.FairShare.DefaultFactor = 0.5 },
		"no patience": func(s *server.Settings) {
			d := quantity.Duration(time.Second)
			s.Checkpoints.RestartAfter = &d
		},
		"no such level":   func(s *server.Settings) { s.Checkpoints.CPUBaseline = "haswell" },
		"renew too late2": func(s *server.Settings) { s.Leases.Renew = quantity.Duration(time.Hour) },
	} {
		s := good
		spoil(&s)
		if _, err := server.NewHead(server.HeadConfig{Settings: s}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := server.NewHead(server.HeadConfig{Settings: good}); err != nil {
		t.Error(err)
	}
}

func TestAdminWithoutMatchmaker(t *testing.T) {
	_, err := server.Admin(t.Context(), t.TempDir(), server.AdminRequest{Do: server.AdminMembers})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no matchmaker runs") {
		t.Errorf("got %v", err)
	}
}

// TestSocketNonsense finds the sockets in good health after what no program of ours says.
func TestSocketNonsense(t *testing.T) {
	s := settings(t)
	h, _ := startHead(t, s)
	for _, socket := range []string{h.LoginSocket(), filepath.Join(s.Data, "admin.sock")} {
		for _, text := range []string{"", "{}", `{"v":1}`, `{"v":99}`, "null", "\x00", `{"v":1,"key":"UX"}`, `{"v":1,"do":"dance"}`, strings.Repeat("[", 100_000)} {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte(text)) // the other side may have hung up already
			c.Close()
		}
	}
	if _, err := membership.JoinLocal(t.Context(), t.TempDir(), h.LoginSocket()); err != nil {
		t.Error(err)
	}
}
