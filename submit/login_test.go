package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/membership"
	"skua/internal/trust"
	"skua/submit/client"
)

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
