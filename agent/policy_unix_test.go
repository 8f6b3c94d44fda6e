//go:build !windows

package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"skua/agent/control"
	"skua/agent/startd"
	"skua/policy"
)

// busy is an agent whose jobs make some load.
type busy struct{}

func (busy) Status(time.Time) control.Status { return control.Status{SkuaLoad: 1.5} }
func (busy) Heed(control.Wish) error         { return nil }
func (busy) Ran() ([]control.Ran, error)     { return nil, nil }
func (busy) MayPause() time.Duration         { return 0 }
func serveBusy(ctx context.Context, t *testing.T, path string) (ended chan error) {
	t.Helper()
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	s := control.Server{Agent: busy{}, Seated: func() []uint32 { return nil }, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- s.Serve(ctx, l) }()
	return ended
}

// What the agent's jobs have of the load is not taken for the owner's; nobody knows it but the agent.
func TestExplainKnowsTheJobsLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := serveBusy(ctx, t, path)
	p, err := policy.Derive(policy.File{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		control string
		want    float64
	}{{path, 1.5}, {path + ".none", 0}, {startd.NoControl, 0}} {
		cfg := fileConfig{Settings: startd.Settings{Name: "desk", Control: tt.control, Owner: new(false)}}
		ad, err := machineNow(t.Context(), cfg, p)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := ad.Real("SkuaLoadAvg"); !ok || got != tt.want {
			t.Errorf("with the control %s SkuaLoadAvg is %v, %v; want %v", tt.control, got, ok, tt.want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
