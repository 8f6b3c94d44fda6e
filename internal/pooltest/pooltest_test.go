package pooltest_test

import (
	"log/slog"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
)

// start starts a pool; with SKUA_LOG=1 everybody in it logs to standard error.
func start(t *testing.T, cfg pooltest.Config) *pooltest.Pool {
	t.Helper()
	if os.Getenv("SKUA_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return pooltest.Start(t, cfg)
}

func TestJobCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 3})
		id := p.Submit(t, "sleep 10m")
		p.AwaitState(t, id, job.Running, time.Minute)
		p.AwaitState(t, id, job.Completed, 11*time.Minute)
		if got, want := p.Events(id), []string{"submitted", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		p.CheckCompleted(t)
	})
}
