package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sys/windows/svc"
)

// manager is the system's side of a service, as far as a test needs it.
type manager struct {
	requests chan svc.ChangeRequest
	status   chan svc.Status
	result   chan uint32
}

// begin starts a handler whose agent is serve.
func begin(t *testing.T, sign time.Duration, serve func(context.Context) error) *manager {
	t.Helper()
	m := &manager{make(chan svc.ChangeRequest), make(chan svc.Status, 64), make(chan uint32, 1)}
	h := &handler{serve: serve, log: slog.New(slog.NewTextHandler(t.Output(), nil)), sign: sign}
	go func() {
		_, code := h.Execute(nil, m.requests, m.status)
		m.result <- code
	}()
	m.expect(t, svc.StartPending)
	if s := m.expect(t, svc.Running); s.Accepts&svc.AcceptPreShutdown == 0 || s.Accepts&svc.AcceptSessionChange == 0 || s.Accepts&svc.AcceptPowerEvent == 0 {
		t.Errorf("the running service accepts %b", s.Accepts)
	}
	return m
}

func (m *manager) expect(t *testing.T, want svc.State) svc.Status {
	t.Helper()
	select {
	case s := <-m.status:
		if s.State != want {
			t.Fatalf("the service is in state %d, want %d", s.State, want)
		}
		return s
	case <-time.After(time.Minute):
		t.Fatalf("the service does not come to state %d", want)
	}
	return svc.Status{}
}

func (m *manager) ask(t *testing.T, r svc.ChangeRequest) {
	t.Helper()
	select {
	case m.requests <- r:
	case <-time.After(time.Minute):
		t.Fatalf("request %+v is not taken", r)
	}
}

// A stop that takes its time, since jobs leave first, shows signs of life all the while.
func TestServiceStops(t *testing.T) {
	for _, how := range []svc.Cmd{svc.Stop, svc.Shutdown, svc.PreShutdown} {
		left := make(chan struct{})
		m := begin(t, time.Millisecond, func(ctx context.Context) error {
			<-ctx.Done()
			<-left
			return nil
		})
		m.ask(t, svc.ChangeRequest{Cmd: svc.Interrogate})
		m.expect(t, svc.Running)
		m.ask(t, svc.ChangeRequest{Cmd: svc.SessionChange, EventType: 5})
		m.ask(t, svc.ChangeRequest{Cmd: svc.PowerEvent, EventType: powerSuspend})
		m.ask(t, svc.ChangeRequest{Cmd: svc.PowerEvent, EventType: powerResumeAutomatic})
		m.ask(t, svc.ChangeRequest{Cmd: how})
		var last uint32
		for range 3 {
			s := m.expect(t, svc.StopPending)
			if s.CheckPoint <= last || s.WaitHint < 1000 {
				t.Errorf("after sign %d comes %d, to wait for %d ms", last, s.CheckPoint, s.WaitHint)
			}
			last = s.CheckPoint
		}
		close(left)
		select {
		case code := <-m.result:
			if code != 0 {
				t.Errorf("after command %d the service ends with %d", how, code)
			}
		case <-time.After(time.Minute):
			t.Fatal("the service does not end")
		}
	}
}

// An agent that fails ends with an error, for which the system starts it anew.
func TestServiceFails(t *testing.T) {
	m := begin(t, time.Hour, func(context.Context) error { return errors.New("out of luck") })
	m.expect(t, svc.StopPending)
	if code := <-m.result; code == 0 {
		t.Error("the service ends as if all was well")
	}
}
