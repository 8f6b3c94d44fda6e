package startd

import (
	"context"
	"time"

	"skua/agent/control"
	"skua/internal/bus"
	"skua/internal/diag"
)

// NoControl in the settings means that nobody at the machine is listened to.
const NoControl = "none"

// controlled is the daemon as its controls see it, with what the machine knows besides.
type controlled struct {
	*Daemon
	m    *Machine
	conn *bus.Client
}

// Status implements [control.Agent].
func (c controlled) Status(now time.Time) control.Status {
	s := c.Daemon.Status(now)
	s.Version, s.Pool, s.Connected = c.m.Version, c.m.member.URLs(), c.conn.Connected()
	s.Refused = !s.Connected && c.conn.Refused()
	if c.m.settings.Policy != "" {
		s.Policy = c.m.settings.Policy
	}
	return s
}

// startControls listens to the person at the machine until the function that it gives is called. An agent
// whose socket, or pipe, cannot be made does its work all the same.
func (m *Machine) startControls(d *Daemon, conn *bus.Client) (stop func()) {
	if m.settings.Control == NoControl || m.settings.Control == "" {
		return nil
	}
	l, err := control.Listen(m.settings.Control)
	if err != nil {
		m.log.Warn("the person at the machine cannot speak to the agent", "path", m.settings.Control, diag.KeyError, err)
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	server := control.Server{Agent: controlled{d, m, conn}, Seated: seated, Log: m.log}
	go func() {
		defer close(ended)
		if err := server.Serve(ctx, l); err != nil {
			m.log.Warn("the person at the machine cannot speak to the agent any more", diag.KeyError, err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
