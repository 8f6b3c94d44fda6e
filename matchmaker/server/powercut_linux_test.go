package server_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/server"
	"skua/policy/classad"
)

// The test binary run with these variables is a matchmaker on one directory, with submitters that keep what they are
// in another. It prints the request of each submit that was acknowledged.
const (
	cutData    = "SKUA_TEST_CUT_DATA"
	cutMembers = "SKUA_TEST_CUT_MEMBERS"
)

func TestMain(m *testing.M) {
	if data := os.Getenv(cutData); data != "" {
		if err := submitUntilKilled(data, os.Getenv(cutMembers)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const cutSubmitters = 12

// submitUntilKilled runs a matchmaker and submitters, each with a connection of its own. Some wait for each
// answer; the matchmaker commits those that come together in one batch.
func submitUntilKilled(data, members string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	h, err := server.NewHead(server.HeadConfig{Settings: server.Settings{Data: data, Listen: "127.0.0.1:0", Limits: server.LimitSettings{DiskFree: 1}}})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	select {
	case <-h.Ready():
	case err := <-done:
		return err
	}
	out := make(chan string)
	var all sync.WaitGroup
	for n := range cutSubmitters {
		text, err := h.Token(trust.TokenSpec{Kind: trust.User, Name: fmt.Sprint("user", n), Approve: true, TTL: time.Hour}, "")
		if err != nil {
			return err
		}
		token, err := trust.ParseToken(text)
		if err != nil {
			return err
		}
		m, err := membership.Join(ctx, filepath.Join(members, fmt.Sprint(n)), token, "")
		if err != nil {
			return err
		}
		all.Go(func() { submitAgainAndAgain(ctx, m, n, out) })
	}
	go func() {
		all.Wait()
		close(out)
	}()
	for line := range out {
		if _, err := fmt.Println(line); err != nil {
			return err
		}
	}
	return <-done
}

func submitAgainAndAgain(ctx context.Context, m *membership.Membership, n int, out chan<- string) {
	conn, err := m.Dial(bus.Config{FailFast: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		request := fmt.Sprintf("r-%d-%d", n, i)
		data, err := wire.Encode(markedSubmit(request, 1+i%3))
		if err == nil {
			data, err = conn.Request(ctx, wire.UserSubject(job.UserID(m.ID), wire.VerbSubmit), data)
		}
		var answer wire.Submitted
		if err == nil {
			answer, err = wire.Decode[wire.Submitted](data)
		}
		switch {
		case err != nil:
			if ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, request, err)
			}
			return
		case answer.Fail != nil:
			fmt.Fprintln(os.Stderr, request, answer.Fail.What)
			return
		}
		out <- fmt.Sprintf("%s %s %d %d", request, m.ID, answer.Cluster, 1+i%3)
	}
}

// markedSubmit is a submit whose jobs carry the name of the request.
func markedSubmit(request string, procs int) wire.Submit {
	ad := classad.NewAd()
	ad.SetString("Cmd", "/bin/true")
	ad.SetString("Mark", request)
	ad.SetBool("Requirements", true)
	s := wire.Submit{V: wire.Version, Request: request, Ad: ad}
	for range procs {
		s.Procs = append(s.Procs, classad.NewAd())
	}
	return s
}

// image is a file with a file system in it.
type image struct {
	path   string
	device string // that it is attached to
	dir    string // where it is mounted
}

// attach mounts an image, which replays its journal.
func attach(t *testing.T, path string) *image {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device can be had: %s", out)
	}
	i := &image{path: path, device: strings.TrimSpace(string(out)), dir: path + ".mnt"}
	t.Cleanup(i.detach)
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "ext4", i.device, i.dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %s", out)
	}
	return i
}

// detach can be called twice.
func (i *image) detach() {
	if i.device == "" {
		return
	}
	_ = exec.Command("umount", i.dir).Run() // it may not be mounted
	_ = exec.Command("losetup", "--detach", i.device).Run()
	i.device = ""
}

// written counts what has reached the device, and what is on its way.
func (i *image) written(t *testing.T) (sectors, flying string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(i.device), "stat"))
	f := strings.Fields(string(data))
	if err != nil || len(f) < 9 {
		t.Fatalf("statistics of %s: %q, %v", i.device, data, err)
	}
	return f[6], f[8]
}

// cut copies the device as a power cut leaves it at one moment: nothing was written during the copy. What the file
// system has only in memory is lost.
func (i *image) cut(t *testing.T, to string) {
	t.Helper()
	for range 200 {
		before, flying := i.written(t)
		if out, err := exec.Command("cp", "--sparse=always", i.path, to).CombinedOutput(); err != nil {
			t.Fatalf("copy the image: %s", out)
		}
		if after, still := i.written(t); after == before && flying == "0" && still == "0" {
			return
		}
	}
	t.Fatal("the device does not come to rest")
}

// TestPowerCut has a matchmaker on a file system of its own, cuts its power at random moments while submitters are
// at work, and starts another one on what is on the disk.
func TestPowerCut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount file systems")
	}
	for _, name := range []string{"mkfs.ext4", "losetup"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed; scripts/setup does it", name)
		}
	}
	dir, err := os.MkdirTemp("", "skua")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 128<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %s", out)
	}
	disk := attach(t, path)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), cutData+"="+filepath.Join(disk.dir, "mm"), cutMembers+"="+filepath.Join(dir, "members"))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acks := &acknowledged{begun: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		acks.read(bufio.NewScanner(stdout))
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	await(t, acks.begun, "the first submit to be acknowledged")

	cuts := 6
	if n, err := strconv.Atoi(os.Getenv("SKUA_CUTS")); err == nil {
		cuts = n
	}
	total, lost, doubled := 0, 0, 0
	for n := range cuts {
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // any moment will do
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		// What has been printed was acknowledged before the cut.
		known := acks.known()
		to := filepath.Join(dir, fmt.Sprint("cut", n))
		disk.cut(t, to)
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		total += len(known)
		l, d := checkCut(t, to, known)
		lost, doubled = lost+l, doubled+d
	}
	fmt.Printf("powercut: cuts=%d acknowledged=%d lost=%d doubled=%d\n", cuts, total, lost, doubled)
	if lost > 0 || doubled > 0 {
		t.Errorf("of %d acknowledged submits %d are lost and %d doubled", total, lost, doubled)
	}
}

// acknowledged is what the submitters have been told.
type acknowledged struct {
	begun chan struct{}

	mu    sync.Mutex
	lines []string // guarded by mu
}

func (a *acknowledged) read(lines *bufio.Scanner) {
	for lines.Scan() {
		a.mu.Lock()
		if a.lines = append(a.lines, lines.Text()); len(a.lines) == 1 {
			close(a.begun)
		}
		a.mu.Unlock()
	}
}

func (a *acknowledged) known() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lines[:len(a.lines):len(a.lines)]
}

// checkCut starts a matchmaker on a copy and compares its queue with what was acknowledged.
func checkCut(t *testing.T, path string, known []string) (lost, doubled int) {
	t.Helper()
	disk := attach(t, path)
	defer os.Remove(path)
	defer disk.detach()
	h, stop := startHead(t, server.Settings{Data: filepath.Join(disk.dir, "mm"), Listen: "127.0.0.1:0", Limits: server.LimitSettings{DiskFree: 1}})
	defer stop()
	type cluster struct {
		number int
		procs  int
	}
	found := map[string][]cluster{}
	for _, j := range h.Queue().Jobs("") {
		mark, _ := j.Ad.Str("Mark")
		list := found[mark]
		if len(list) == 0 || list[len(list)-1].number != j.ID.Cluster {
			list = append(list, cluster{number: j.ID.Cluster})
		}
		list[len(list)-1].procs++
		found[mark] = list
	}
	for _, line := range known {
		var request, user string
		var number, procs int
		if _, err := fmt.Sscan(line, &request, &user, &number, &procs); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got := found[request]
		if len(got) == 0 || got[0] != (cluster{number, procs}) {
			t.Errorf("%s, acknowledged as cluster %d of %d jobs, is %v", request, number, procs, got)
			lost++
		}
	}
	for request, got := range found {
		if len(got) > 1 {
			t.Errorf("%s is there more than once: %v", request, got)
			doubled++
		}
	}
	return lost, doubled
}
