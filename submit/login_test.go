package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/submit/client"
)

// TestLoginLocalStays: on the matchmaker's machine one is in its pool already, and may be no other user of it by the way.
func TestLoginLocalStays(t *testing.T) {
	dir, err := os.MkdirTemp("", "skua") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "login.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var name atomic.Value
	name.Store("ann")
	answer := func(c net.Conn) {
		defer c.Close()
		var q wire.LocalLogin
		if json.NewDecoder(c).Decode(&q) != nil {
			return
		}
		a := wire.LocalLogged{URL: "nats://127.0.0.1:1", CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
		if !q.Ask {
			a.ID, a.Name = "u1", name.Load().(string)
		}
		json.NewEncoder(c).Encode(a)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c)
		}
	}()
	stays := login{home: client.Home(filepath.Join(dir, "home"))}
	for range 2 {
		if m, err := stays.socket(t.Context(), socket); err != nil || m.Name != "ann" {
			t.Errorf("logging in: %+v, %v", m, err)
		}
	}
	name.Store("bob")
	var p *diag.Problem
	if _, err := stays.socket(t.Context(), socket); !errors.As(err, &p) || !strings.Contains(p.What, "you are ann in this pool already") || !strings.Contains(p.Hint, "makes you bob") {
		t.Errorf("becoming another user without being asked to: %v, %+v", err, p)
	}
}

// TestLoginStays: a login does not end a membership in another pool unless that is asked for.
func TestLoginStays(t *testing.T) {
	home := client.Home(t.TempDir())
	here, there := &membership.Membership{Fingerprint: "aa", Name: "ann"}, &membership.Membership{Fingerprint: "bb"}
	l, leaves := login{home: home}, login{home: home, leave: true}
	if err := l.stays(there); err != nil {
		t.Errorf("a user of no pool does not come into one: %v", err)
	}
	if err := os.MkdirAll(home.Member(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.CreateIdentity(membership.KeyPath(home.Member())); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(membership.Membership{V: 1, URL: "https://here:9618", Fingerprint: "aa", ID: "u1", Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home.Member(), "member.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.stays(here); err != nil {
		t.Errorf("logging in once more: %v", err)
	}
	bob := &membership.Membership{Fingerprint: "aa", Name: "bob"}
	if err := l.stays(bob); err == nil || !strings.Contains(err.Error(), "you are ann in this pool already") {
		t.Errorf("becoming another user without being asked to: %v", err)
	}
	if err := leaves.stays(bob); err != nil || !leaves.isAnother("aa", "bob") {
		t.Errorf("becoming another user on demand: %v", err)
	}
	if err := l.stays(there); err == nil || !strings.Contains(err.Error(), "you are a member of the pool at https://here:9618") {
		t.Errorf("leaving without being asked to: %v", err)
	}
	if err := leaves.stays(there); err != nil {
		t.Errorf("leaving on demand: %v", err)
	}
}
