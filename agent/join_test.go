package main

import (
	"testing"

	"skua/internal/membership"
)

func TestJoined(t *testing.T) {
	here := &membership.Membership{URL: "https://head:9618", Fingerprint: "aa", ID: "a1"}
	for _, tt := range []struct {
		name   string
		before *membership.Membership
		want   string
	}{
		{"in no pool", nil, "desk has joined the pool at https://head:9618 as agent a1"},
		{"once more", here, "desk was in the pool at https://head:9618 already, as agent a1"},
		{"in another pool", &membership.Membership{Fingerprint: "bb", ID: "a1"}, "desk has joined the pool at https://head:9618 as agent a1"},
		{"with a new key", &membership.Membership{Fingerprint: "aa", ID: "a0"}, "desk has joined the pool at https://head:9618 as agent a1"},
	} {
		if got := joined(tt.before, here, "desk"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
