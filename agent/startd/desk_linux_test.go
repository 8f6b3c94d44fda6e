package startd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/agent/session"
	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

func TestMain(m *testing.M) {
	starter.MaybeInit()
	session.MaybeHelper()
	os.Exit(m.Run())
}

// patience bounds every wait of a test. Only a failing test waits that long.
const patience = 2 * time.Minute

// desk is a machine with a real agent and real jobs. The test is its matchmaker, which grants everything,
// and keeps its files in memory.
type desk struct {
	t       testing.TB
	dir     string
	hub     *bus.Hub
	head    *bus.MemoryConn
	starter RealStarter
	daemon  *Daemon
	stop    func()

	mu      sync.Mutex // guards what follows
	blobs   map[blob.Digest][]byte
	images  map[blob.Digest]map[string][]byte
	renews  []wire.Renew
	done    map[job.ClaimID]wire.Done
	refused map[job.ClaimID]string
	ckpts   []wire.Checkpoint
	keeps   bool // the matchmaker keeps images that cannot be restored here
	loses   int  // so many images that are reported are not whole at the matchmaker
	peeked  map[string]wire.Peeked
	next    *wire.Offer      // comes with the answer to the next report
	wish    wire.ControlVerb // repeated with every grant
	claims  int
	change  func(*Config)
}

const deskAgent = job.AgentID("agent1")

// newDesk starts the agent of a machine that nobody sits at. change may be nil.
func newDesk(t *testing.T, change func(*Config)) *desk {
	t.Helper()
	d := &desk{
		t: t, dir: t.TempDir(), hub: bus.NewMemory(),
		blobs: map[blob.Digest][]byte{}, images: map[blob.Digest]map[string][]byte{},
		done: map[job.ClaimID]wire.Done{}, refused: map[job.ClaimID]string{}, peeked: map[string]wire.Peeked{}, change: change,
	}
	s, err := starter.New(starter.Config{Dir: filepath.Join(d.dir, "claims"), Log: d.log()})
	if err != nil {
		t.Fatal(err)
	}
	can := deskCan()
	if !can.Sandbox {
		t.Skip("jobs cannot be run here: " + can.SandboxWhy)
	}
	can.Checkpoint = false
	d.starter = RealStarter{s, func() starter.Capabilities { return can }}
	d.head = d.hub.Connect("head")
	if _, err := d.head.Subscribe(wire.AnyAgent, d.onAgent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop()
		d.head.Close()
		claims, err := s.Claims()
		if err != nil {
			t.Error(err)
		}
		for _, c := range claims {
			if err := s.Remove(c); err != nil {
				t.Error(err)
			}
		}
	})
	d.start()
	return d
}

// deskCan finds out once what this machine can do.
var deskCan = sync.OnceValue(func() starter.Capabilities {
	dir, err := os.MkdirTemp("", "skua-startd-")
	if err != nil {
		return starter.Capabilities{SandboxWhy: err.Error()}
	}
	defer os.RemoveAll(dir)
	s, err := starter.New(starter.Config{Dir: dir})
	if err != nil {
		return starter.Capabilities{SandboxWhy: err.Error()}
	}
	return s.Capabilities(context.Background())
})

func (d *desk) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(d.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// start starts an agent over what is on the disk.
func (d *desk) start() {
	d.t.Helper()
	p, err := policy.Derive(policy.File{Preset: policy.Dedicated})
	if err != nil {
		d.t.Fatal(err)
	}
	cfg := Config{
		Agent: deskAgent, Machine: "desk", Dir: filepath.Join(d.dir, "records"), Bus: d.hub.Connect("desk"), Starter: d.starter,
		Files: deskFiles{d}, Policy: p, Clock: Boottime, Log: d.log(), LookEach: 50 * time.Millisecond, LookStill: 50 * time.Millisecond,
		Facts: func(context.Context) (*classad.Ad, error) {
			ad := classad.NewAd()
			ad.SetInt("TotalCpus", 4)
			ad.SetInt("TotalMemory", 4000)
			ad.SetInt("TotalDisk", 1<<20)
			return ad, nil
		},
	}
	if d.change != nil {
		d.change(&cfg)
	}
	if d.daemon, err = New(cfg); err != nil {
		d.t.Fatal(err)
	}
	// The jobs' web servers are this machine's own.
	d.daemon.web = newWeb(func(string) error { return nil })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.daemon.Run(ctx) }()
	d.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("the agent ended: %v", err)
		}
		cfg.Bus.Close()
		d.stop = func() {}
	}
	d.await("the slot is free or taken", func() bool { return d.daemon.keepers[0].state().String() != "Owner/Idle" })
}

// onAgent is the matchmaker.
func (d *desk) onAgent(m bus.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, verb := wire.Sender(m.Subject)
	var answer any
	switch verb {
	case wire.VerbAccept:
		a, err := wire.Decode[wire.Accept](m.Data)
		if err != nil {
			d.t.Error(err)
		}
		if a.Refused != "" {
			d.refused[a.Claim] = a.Refused
		}
		answer = wire.Grant{V: wire.Version, Do: d.wish}
	case wire.VerbRenew:
		r, err := wire.Decode[wire.Renew](m.Data)
		if err != nil {
			d.t.Error(err)
		}
		d.renews = append(d.renews, r)
		answer = wire.Grant{V: wire.Version, Do: d.wish}
	case wire.VerbDone:
		done, err := wire.Decode[wire.Done](m.Data)
		if err != nil {
			d.t.Error(err)
		}
		d.done[done.Claim] = done
		answer = wire.Ack{V: wire.Version, Next: d.next}
		d.next = nil
	case wire.VerbCheckpoint:
		c, err := wire.Decode[wire.Checkpoint](m.Data)
		if err != nil {
			d.t.Error(err)
		}
		d.ckpts = append(d.ckpts, c)
		ack := wire.Ack{V: wire.Version, Kept: d.keeps && c.Again}
		if d.loses > 0 && c.Image != nil {
			d.loses--
			ack.Missing, ack.Fail = true, wire.Fail(errors.New("parts of it are lost"))
		}
		answer = ack
	case wire.VerbPeeked:
		p, err := wire.Decode[wire.Peeked](m.Data)
		if err != nil {
			d.t.Error(err)
		}
		d.peeked[p.ID] = p
		return
	}
	if m.Reply == nil {
		return // a refusal
	}
	data, err := wire.Encode(answer)
	if err == nil {
		err = m.Reply(data)
	}
	if err != nil {
		d.t.Error(err)
	}
}

// offer has the slot take a job: a shell script, with further attributes in the old syntax.
func (d *desk) offer(script, attributes string, images ...job.Image) wire.ClaimRef {
	d.t.Helper()
	d.await("the slot is free", func() bool { return d.daemon.keepers[0].state().String() == "Unclaimed/Idle" })
	o := d.makeOffer(script, attributes, images...)
	d.publish(wire.OfferSubject(deskAgent), o)
	return wire.ClaimRef{Job: o.Job, Claim: o.Claim, Epoch: o.Epoch}
}

func (d *desk) makeOffer(script, attributes string, images ...job.Image) wire.Offer {
	d.t.Helper()
	ad, err := classad.ParseOldAd("Cmd = \"/bin/sh\"\nTransferExecutable = false\n" + attributes)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, ok := ad.Lookup("Arguments"); !ok {
		ad.SetString("Arguments", "-c '"+strings.ReplaceAll(script, "'", "''")+"'")
	}
	d.claims++
	return wire.Offer{
		V: wire.Version, Slot: "slot1@desk", Job: job.ID{Cluster: d.claims}, Claim: job.ClaimID(fmt.Sprint("claim", d.claims)), Epoch: 1,
		User: "user1", Ad: ad, Images: images, Terms: wire.Terms{Renew: 200 * time.Millisecond},
	}
}

func (d *desk) publish(subject string, message any) {
	d.t.Helper()
	data, err := wire.Encode(message)
	if err == nil {
		err = d.head.Publish(subject, data)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// control sends a control about a claim.
func (d *desk) control(ref wire.ClaimRef, c wire.Control) {
	d.t.Helper()
	c.V, c.ClaimRef = wire.Version, ref
	d.publish(wire.ControlSubject(deskAgent), c)
}

// end waits for the report of a claim.
func (d *desk) end(ref wire.ClaimRef) wire.Done {
	d.t.Helper()
	var done wire.Done
	d.await("the job has ended", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		var ok bool
		done, ok = d.done[ref.Claim]
		return ok
	})
	return done
}

// run has a job run to its end.
func (d *desk) run(script, attributes string) wire.Done {
	d.t.Helper()
	return d.end(d.offer(script, attributes))
}

// peek asks for a piece of a file.
func (d *desk) peek(ref wire.ClaimRef, want wire.Peek) wire.Peeked {
	d.t.Helper()
	d.mu.Lock()
	id := fmt.Sprint("peek", len(d.peeked))
	d.mu.Unlock()
	d.control(ref, wire.Control{Do: wire.PeekClaim, ID: id, Peek: &want})
	var p wire.Peeked
	d.await("the peek is answered", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		var ok bool
		p, ok = d.peeked[id]
		return ok
	})
	return p
}

// prints waits until the job's standard output contains a text.
func (d *desk) prints(ref wire.ClaimRef, text string) {
	d.t.Helper()
	d.await(fmt.Sprintf("the job prints %q", text), func() bool {
		return strings.Contains(string(d.peek(ref, wire.Peek{File: job.StdoutFile}).Data), text)
	})
}

// file gives the content of one of a report's files, "(none)" if it is not among them.
func (d *desk) file(files []job.File, name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range files {
		switch {
		case f.Name != name:
		case f.Digest == "":
			return string(f.Inline)
		default:
			return string(d.blobs[f.Digest])
		}
	}
	return "(none)"
}

// await polls until ok holds.
func (d *desk) await(what string, ok func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			d.t.Fatalf("not after %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond) // between looks, not in place of one
	}
}

// deskFiles are the files of a desk's jobs.
type deskFiles struct{ *desk }

// Fetch implements [Files].
func (deskFiles) Fetch(_ context.Context, _ string, f job.File, root *os.Root) error {
	return root.WriteFile(f.Name, f.Inline, 0o644)
}

// Store implements [Files].
func (d deskFiles) Store(_ context.Context, _ string, f *os.File) (blob.Digest, int64, error) {
	content, err := io.ReadAll(f)
	sum := sha256.Sum256(content)
	digest := blob.Digest(hex.EncodeToString(sum[:]))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blobs[digest] = content
	return digest, int64(len(content)), err
}

// StoreImage implements [Files].
func (d deskFiles) StoreImage(_ context.Context, _ func() string, _ []byte, dir string, names []string) (blob.Digest, int64, error) {
	image, size := map[string][]byte{}, int64(0)
	var all bytes.Buffer
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			rel, _ := filepath.Rel(dir, path)
			image[rel] = content
			fmt.Fprintln(&all, rel, content)
			size += int64(len(content))
			return err
		})
		if err != nil {
			return "", 0, err
		}
	}
	sum := sha256.Sum256(all.Bytes())
	digest := blob.Digest(hex.EncodeToString(sum[:]))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[digest] = image
	return digest, size, nil
}

// FetchImage implements [Files].
func (d deskFiles) FetchImage(_ context.Context, _ func() string, _ []byte, digest blob.Digest, dir string, _ int64) error {
	d.mu.Lock()
	image, ok := d.images[digest]
	d.mu.Unlock()
	if !ok {
		return ErrBadImage
	}
	for name, content := range image {
		if strings.Contains(name, ":") { // as on Windows
			return fmt.Errorf("unpack: %w", blob.ErrName)
		}
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			return err
		}
	}
	return nil
}
