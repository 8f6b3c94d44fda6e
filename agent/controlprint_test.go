package main

import (
	"strings"
	"testing"
	"time"

	"skua/agent/control"
)

func TestStatusOfAnUnkeptWish(t *testing.T) {
	for _, unkept := range []bool{false, true} {
		var b strings.Builder
		printStatus(&b, control.Status{WishUnkept: unkept}, time.Now())
		if got := strings.Contains(b.String(), "will not know"); got != unkept {
			t.Errorf("unkept %v: %q", unkept, b.String())
		}
	}
}

func TestStatusOfThePool(t *testing.T) {
	for _, tt := range []struct {
		name               string
		connected, refused bool
		want               string
	}{
		{"connected", true, false, "pool     https://head:9618\n"},
		{"not connected", false, false, "pool     https://head:9618 (not connected: it is tried again and again)\n"},
		{"put out", false, true, "pool     https://head:9618 (this machine was put out of the pool: skua-agent join with a new token brings it back)\n"},
	} {
		var b strings.Builder
		printStatus(&b, control.Status{Pool: []string{"https://head:9618"}, Connected: tt.connected, Refused: tt.refused}, time.Now())
		if !strings.Contains(b.String(), tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, b.String(), tt.want)
		}
	}
}
