package pooltest_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/pooltest"
	"skua/internal/submitfile"
	"skua/internal/wire"
	"skua/submit/client"
)

// Whatever becomes of the queue log and of the matchmaker while a user submits: the jobs are in the queue once and the
// user is told so, or they are not and the user is told that, or it is said that it is not known.
func TestUncertainSubmits(t *testing.T) {
	errFull := errors.New("no space left")
	for _, tt := range []struct {
		name string
		// step is called for every append, with how long ago the submit was, and how many appends there were before
		// this one.
		step   func(p *pooltest.Pool, do pooltest.Append, after time.Duration, before int) (uint64, error)
		crash  bool   // and another matchmaker starts after 7 s
		told   string // in what the user reads; "" for a receipt
		later  bool   // the exit code says that it makes sense to try again
		queued bool
		within time.Duration
	}{
		{
			name: "the servers of the log choose their leader for 8 s",
			step: func(_ *pooltest.Pool, do pooltest.Append, after time.Duration, _ int) (uint64, error) {
				if after < 8*time.Second {
					return 0, bus.ErrNoResponder
				}
				return do()
			},
			queued: true, within: 9 * time.Second,
		},
		{
			name: "the append is in the log, its acknowledgement is lost",
			step: func(_ *pooltest.Pool, do pooltest.Append, _ time.Duration, before int) (uint64, error) {
				last, err := do()
				if before == 0 {
					return 0, bus.ErrUnknownOutcome
				}
				return last, err
			},
			queued: true, within: time.Second,
		},
		{
			name: "the matchmaker dies between the log and the answer, and another takes over",
			step: func(p *pooltest.Pool, do pooltest.Append, _ time.Duration, before int) (uint64, error) {
				if before == 0 {
					p.CutMatchmaker()
				}
				return do()
			},
			crash: true, queued: true, within: 12 * time.Second,
		},
		{
			name: "the matchmaker dies before the log, and another takes over",
			step: func(p *pooltest.Pool, do pooltest.Append, _ time.Duration, before int) (uint64, error) {
				if before == 0 {
					p.CutMatchmaker()
					return 0, bus.ErrDisconnected
				}
				return do()
			},
			crash: true, queued: true, within: 12 * time.Second,
		},
		{
			name: "the append is in the log, and nobody hears of it for an hour",
			step: func(_ *pooltest.Pool, do pooltest.Append, after time.Duration, _ int) (uint64, error) {
				_, _ = do()
				if after < time.Hour {
					return 0, bus.ErrUnknownOutcome
				}
				return do()
			},
			queued: true, within: 31 * time.Second,
		},
		{
			name: "the log is away for an hour",
			step: func(_ *pooltest.Pool, _ pooltest.Append, _ time.Duration, _ int) (uint64, error) {
				return 0, bus.ErrNoResponder
			},
			told: "the matchmaker cannot write its queue log", later: true, within: 31 * time.Second,
		},
		{
			name: "no server says what became of the append",
			step: func(_ *pooltest.Pool, _ pooltest.Append, _ time.Duration, _ int) (uint64, error) {
				return 0, bus.ErrUnknownOutcome
			},
			told: "it is not known whether the jobs are in the queue", later: true, within: 31 * time.Second,
		},
		{
			name: "the log is full",
			step: func(_ *pooltest.Pool, _ pooltest.Append, _ time.Duration, _ int) (uint64, error) {
				return 0, errFull
			},
			told: "the matchmaker cannot write its queue log", within: time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pooltest.Start(t, pooltest.Config{Machines: 1})
				c := p.Client()
				defer c.Close()
				start, appends := time.Now(), 0
				p.OnAppend(func(do pooltest.Append) (uint64, error) {
					appends++
					return tt.step(p, do, time.Since(start), appends-1)
				})
				type answer struct {
					res  wire.Submitted
					err  error
					took time.Duration
				}
				answers := make(chan answer, 1)
				go func() {
					res, err := c.Submit(t.Context(), sleepers(t), nil)
					answers <- answer{res, err, time.Since(start)}
				}()
				synctest.Wait()
				if tt.crash {
					p.RestartMatchmaker(7 * time.Second)
				}
				a := <-answers
				p.OnAppend(nil)
				time.Sleep(2 * time.Second) // a log whose end is not known is looked at every second
				switch {
				case tt.told == "" && a.err != nil:
					t.Errorf("after %v the submit is told: %v", a.took, a.err)
				case tt.told != "" && (a.err == nil || !strings.Contains(a.err.Error(), tt.told)):
					t.Errorf("after %v the submit is told %v, want %q", a.took, a.err, tt.told)
				case a.took > tt.within:
					t.Errorf("the answer took %v, want %v at most", a.took, tt.within)
				}
				if later := diag.ExitCode(a.err) == diag.ExitUnreachable; later != tt.later {
					t.Errorf("the exit code %d says that the pool cannot answer now: %v, want %v", diag.ExitCode(a.err), later, tt.later)
				}
				rows, _, err := c.Jobs(t.Context(), wire.Selection{})
				if err != nil {
					t.Fatal(err)
				}
				clusters := map[int]int{}
				for _, r := range rows {
					clusters[r.ID.Cluster]++
				}
				switch {
				case tt.queued && (len(clusters) != 1 || clusters[a.res.Cluster] != 3):
					t.Errorf("the queue has %v jobs by cluster, want three in cluster %d", clusters, a.res.Cluster)
				case !tt.queued && !strings.HasPrefix(tt.told, "it is not known") && len(rows) > 0:
					t.Errorf("the queue has %d jobs of a submit that was refused", len(rows))
				case len(clusters) > 1:
					t.Errorf("the queue has %d clusters of one submit", len(clusters))
				}
			})
		})
	}
}

// sleepers describes three jobs.
func sleepers(t *testing.T) *submitfile.Submission {
	t.Helper()
	d, err := submitfile.Parse("sleep.sub", []byte("executable = /bin/sleep\ntransfer_executable = false\narguments = 10m\nqueue 3\n"), submitfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Expand(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
