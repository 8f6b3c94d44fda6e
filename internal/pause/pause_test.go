package pause

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := For(t.Context(), time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("it gave %v after %v, want nothing after an hour", err, time.Since(began))
		}
	})
}

func TestForIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancelCause(t.Context())
		why := errors.New("somebody came")
		time.AfterFunc(time.Minute, func() { stop(why) })
		began := time.Now()
		if err := For(ctx, time.Hour); err != why || time.Since(began) != time.Minute {
			t.Errorf("it gave %v after %v, want %v after a minute", err, time.Since(began), why)
		}
	})
}
