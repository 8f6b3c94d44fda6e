package checkpoint

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Outside a claim's init the deadline's kill would reach every process of the machine.
func TestOnlyAnInitMayCall(t *testing.T) {
	if os.Getpid() == 1 {
		t.Skip("this test is pid 1 itself")
	}
	_, err := Dump(t.Context(), Options{Path: "/nonexistent", Pid: 2})
	if err == nil || !strings.Contains(err.Error(), "claim's init") {
		t.Errorf("Dump gives %v", err)
	}
}

// Who knows how long an image may take is not cut short, and who does not is.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		for _, tt := range []struct {
			ctx  context.Context
			want time.Duration
		}{{hour, time.Hour}, {t.Context(), DefaultTimeout}} {
			ctx, cancel := bounded(tt.ctx)
			if end, ok := ctx.Deadline(); !ok || time.Until(end) != tt.want {
				t.Errorf("it ends after %v (%v), want %v", time.Until(end), ok, tt.want)
			}
			cancel()
		}
	})
}
