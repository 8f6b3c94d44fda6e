package courier

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// courierDir is the variable that makes the test's program a courier, of a pool whose events are given.
const courierDir = "SKUA_TEST_COURIER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(courierDir); dir != "" {
		if err := courierProcess(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// courierProcess tells lives in dir to their end.
func courierProcess(dir string) error {
	s := lives(dir, 12)
	if err := Begin(filepath.Join(dir, "state"), 1); err != nil {
		return err
	}
	c, err := New(Config{Pool: s, Host: "here", Dir: filepath.Join(dir, "state"), Linger: 10 * time.Millisecond, Zone: time.UTC})
	if err != nil {
		return err
	}
	for {
		if _, err := c.Run(context.Background()); err != nil {
			return err
		}
		if int(c.state.Pos) == len(s.events) {
			return nil
		}
	}
}

// lives is one life after another, of different jobs in the same logs.
func lives(dir string, n int) *script {
	all := &script{ads: map[job.ID]*classad.Ad{}}
	for i := range n {
		one := lifeOf(dir, 10*i)
		for _, ev := range one.events {
			ev.Seq = uint64(len(all.events) + 1)
			all.events = append(all.events, ev)
		}
		maps.Copy(all.ads, one.ads)
	}
	return all
}

// TestKilledAgainAndAgain ends the real process at random moments. The logs that the last one leaves must
// be those of a courier that nobody disturbed.
func TestKilledAgainAndAgain(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(dir string) (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), courierDir+"="+dir)
		said := &bytes.Buffer{}
		cmd.Stderr = said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, said
	}
	logs := func(dir string) string {
		return content(t, filepath.Join(dir, "job.log")) + content(t, filepath.Join(dir, "late.log"))
	}
	calm, wild := t.TempDir(), t.TempDir()
	cmd, said := start(calm)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	want := logs(calm)

	moments := rand.New(rand.NewPCG(4, 17))
	kills := 0
	for kills < 40 {
		cmd, said := start(wild)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		after := time.NewTimer(time.Duration(5+moments.IntN(40)) * time.Millisecond)
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if got := logs(wild); got != want {
				t.Fatalf("after %d kills %s", kills, difference(got, want))
			}
			t.Logf("it was killed %d times", kills)
			wild, kills = t.TempDir(), kills+1
		case <-after.C:
			_ = cmd.Process.Kill() // it may have ended
			<-ended
			kills++
		}
		after.Stop()
	}
	cmd, said = start(wild)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if got := logs(wild); got != want {
		t.Error(difference(got, want))
	}
}

// difference shows where two texts begin to differ.
func difference(got, want string) string {
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	part := func(s string) string { return s[max(0, n-300):min(len(s), n+500)] }
	return fmt.Sprintf("at byte %d there is\n%s\nwant\n%s", n, part(got), part(want))
}

// TestFullDisk: what has no room is kept, said, and written later, in its order.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no device that is full: ", err)
	}
	dir, state := t.TempDir(), t.TempDir()
	log := filepath.Join(dir, "job.log")
	if err := os.Symlink("/dev/full", log); err != nil {
		t.Fatal(err)
	}
	s := aLife(dir)
	run := func(wantLeft bool) {
		c, err := New(Config{Pool: s, Host: "here", Dir: state, Linger: 10 * time.Millisecond, Zone: time.UTC})
		if err != nil {
			t.Fatal(err)
		}
		for {
			left, err := c.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if int(c.state.Pos) == len(s.events) {
				if left != wantLeft {
					t.Errorf("something is left: %v, want %v", left, wantLeft)
				}
				return
			}
		}
	}
	run(true)
	if got, want := content(t, filepath.Join(dir, "late.log")), content(t, filepath.Join("testdata", "late.log")); got != want {
		t.Errorf("the log that has room is\n%s\nwant\n%s", got, want)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	run(false)
	if got, want := content(t, log), content(t, filepath.Join("testdata", "life.log")); got != want {
		t.Errorf("with room again the log is\n%s\nwant\n%s", got, want)
	}
}

// BenchmarkLargeCluster is a cluster from its submission until all its jobs are removed.
func BenchmarkLargeCluster(b *testing.B) {
	for _, procs := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("procs=%d", procs), func(b *testing.B) {
			for b.Loop() {
				dir := b.TempDir()
				s := largeCluster(b, dir, procs)
				c, err := New(Config{Pool: s, Host: "here", Dir: filepath.Join(dir, "state"), Linger: time.Millisecond})
				if err != nil {
					b.Fatal(err)
				}
				for {
					if _, err := c.Run(b.Context()); err != nil {
						b.Fatal(err)
					}
					if int(c.state.Pos) == len(s.events) {
						break
					}
				}
			}
		})
	}
}

func largeCluster(tb testing.TB, dir string, procs int) *script {
	tb.Helper()
	life := aLife(dir)
	ad := life.events[1].Body.(*job.Submitted).Ad
	rows := make([]*classad.Ad, procs)
	for i := range rows {
		rows[i] = classad.NewAd()
		rows[i].SetInt("Year", int64(i))
	}
	data, err := job.EncodeTable(ad, rows, nil)
	if err != nil {
		tb.Fatal(err)
	}
	table, err := job.ReadTable(data)
	if err != nil {
		tb.Fatal(err)
	}
	s := &script{table: table, page: 1000}
	say := func(body job.Body) {
		s.events = append(s.events, job.Event{Seq: uint64(len(s.events) + 1), At: noon, Body: body})
	}
	say(&job.Submitted{Cluster: 7, Ad: ad, Table: &job.TableRef{Count: procs, Inline: data, Size: int64(len(data))}})
	for proc := range procs {
		say(&job.Withdrawn{Job: job.ID{Cluster: 7, Proc: proc}, Reason: "removed by ann"})
	}
	return s
}

// TestLargeCluster: each of its jobs has its entries, once.
func TestLargeCluster(t *testing.T) {
	const procs = 5000
	dir := t.TempDir()
	s := largeCluster(t, dir, procs)
	tell(t, s, t.TempDir())
	log := []byte(content(t, filepath.Join(dir, "job.log")))
	if submitted, aborted := bytes.Count(log, []byte("\n000 (")), bytes.Count(log, []byte("\n009 (")); submitted != procs-1 || aborted != procs {
		t.Errorf("%d entries of submission and %d of the end, want %d of each", submitted+1, aborted, procs)
	}
}
