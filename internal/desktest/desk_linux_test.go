package desktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"skua/agent/session"
)

func TestMain(m *testing.M) {
	session.MaybeHelper()
	os.Exit(m.Run())
}

var desks = []struct {
	name string
	open func(context.Context) (*Desk, error)
}{{"x11", X11}, {"wayland", Wayland}, {"pty", Pty}, {"mutter", Mutter}}

// Every press on every desk is seen.
func TestTimes(t *testing.T) {
	for _, desk := range desks {
		t.Run(desk.name, func(t *testing.T) {
			d, err := desk.open(t.Context())
			if errors.Is(err, ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			took, err := d.Times(t.Context(), 3)
			if err != nil || len(took) != 3 {
				t.Errorf("%v, %v", took, err)
			}
		})
	}
}

// BenchmarkPress measures from a press to the watcher's callback.
func BenchmarkPress(b *testing.B) {
	for _, desk := range desks {
		b.Run("desk="+desk.name, func(b *testing.B) {
			d, err := desk.open(b.Context())
			if errors.Is(err, ErrMissing) {
				b.Skip(err)
			}
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			var took []time.Duration
			for b.Loop() {
				one, err := d.Times(b.Context(), 20)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, one...)
			}
			slices.Sort(took)
			for name, quantile := range map[string]float64{"p50": 0.5, "p99": 0.99} {
				ms := took[int(quantile*float64(len(took)-1))].Seconds() * 1000
				b.ReportMetric(ms, name+"-ms")
				fmt.Printf("bench: press_%s_%s_ms=%.2f\n", desk.name, name, ms)
			}
		})
	}
}
