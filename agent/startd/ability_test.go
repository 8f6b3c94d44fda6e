package startd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/starter"
)

// A machine whose self test took too long at its start is not left without jobs until the next one.
func TestTestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := starter.Capabilities{TimedOut: true, SandboxWhy: "the test took too long"}
		tests := 0
		m := &Machine{test: func(context.Context) starter.Capabilities {
			if tests++; tests < 3 {
				return late
			}
			return starter.Capabilities{Sandbox: true}
		}}
		m.can.Store(&late)
		told, begun := 0, time.Now()
		m.testAgain(t.Context(), func(context.Context) { told++ })
		if can := m.can.Load(); !can.Sandbox || tests != 3 || told != 3 || time.Since(begun) != 3*testEach {
			t.Errorf("%+v after %d tests, told of %d, in %v", can, tests, told, time.Since(begun))
		}
		m.testAgain(t.Context(), func(context.Context) { t.Error("what is known was tested again") })
	})
}

func TestTestAgainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := starter.Capabilities{TimedOut: true}
		m := &Machine{test: func(context.Context) starter.Capabilities { return late }}
		m.can.Store(&late)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.testAgain(ctx, func(context.Context) {})
		}()
		time.Sleep(25 * time.Minute) // of simulated time
		stop()
		<-ended
	})
}
