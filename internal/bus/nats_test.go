package bus

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestURLs(t *testing.T) {
	for _, tt := range []struct{ in, want, err string }{
		{"https://head:9618", "wss://head:9618/nats", ""},
		{"https://head", "wss://head:9618/nats", ""},
		{"https://[fd00::1]:9618/", "wss://[fd00::1]:9618/nats", ""},
		{"wss://head:443/pool/nats", "wss://head:443/pool/nats", ""},
		{"tls://head:4222", "tls://head:4222", ""},
		{"nats://127.0.0.1:4222", "nats://127.0.0.1:4222", ""},
		{"ws://localhost:80", "ws://localhost:80", ""},
		{"nats://head:4222", "", "in the clear"},
		{"ws://10.0.0.1", "", "in the clear"},
		{"http://head:9618", "", "http://"},
		{"head:9618", "", "not a URL"},
		{"https://a,https://b", "", "a"},
		{"", "", "not a URL"},
	} {
		got, err := natsURLs([]string{tt.in})
		if tt.err == "" && (err != nil || joinURLs(got) != tt.want) {
			t.Errorf("%q: got %q, %v, want %q", tt.in, got, err, tt.want)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: got %q, %v, want an error with %q", tt.in, got, err, tt.err)
		}
	}
	if _, err := natsURLs(nil); err == nil {
		t.Error("no URL at all was accepted")
	}
}

func TestBackoff(t *testing.T) {
	largest := func(n int64) int64 { return n - 1 }
	for attempts, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		if got := backoff(attempts, largest); got != want*time.Second-1 {
			t.Errorf("attempt %d: at most %v, want %v", attempts, got, want*time.Second)
		}
	}
	for _, attempts := range []int{-1, 63, 64, 1 << 30} {
		if got := backoff(attempts, rand.Int64N); got < 0 || got >= maxDelay {
			t.Errorf("attempt %d: %v", attempts, got)
		}
	}
}

func TestRefusedSubject(t *testing.T) {
	for said, want := range map[string]string{
		`nats: permissions violation: Permissions Violation for Publish to "skua.u.ada.query"`:                       "skua.u.ada.query",
		`nats: permissions violation: Permissions Violation for Subscription to "_INBOX_ada.*"`:                      "_INBOX_ada.*",
		`nats: permissions violation: Permissions Violation for Subscription to "skua.note.>" using queue "readers"`: "skua.note.>",
		"nats: permissions violation: something new":                                                                 "",
		"": "",
	} {
		if got, ok := refusedSubject(said); got != want || ok != (want != "") {
			t.Errorf("%s\nis about %q, want %q", said, got, want)
		}
	}
}

func TestMayAnswer(t *testing.T) {
	for _, tt := range []struct {
		subject, reply string
		want           bool
	}{
		{"skua.enrol.UKEY", "_INBOX_UKEY.x.1", true},
		{"skua.enrol.UKEY", "skua.ev", false},
		{"skua.enrol.UKEY", "_INBOX_a1.x.1", false},
		{"skua.a.a1.renew", "_INBOX_a1.x.1", true},
		{"skua.a.a1.renew", "_INBOX_a1", false},
		{"skua.a.a1.renew", "_INBOX_a12.x.1", false},
		{"skua.a.a1.renew", "skua.u.u1.act", false},
		{"skua.u.u1.act", "_INBOX_u1.x.1", true},
		{"skua.u.u1.act", "$KV.SKUA_LEADER.leader", false},
		{"skua.ad.a1", "skua.ev", false},
		{"skua.hb.a1", "skua.ev", false},
		{"skua.offer.a1", "_INBOX.x.1", true}, // from the matchmaker to an agent
	} {
		if got := mayAnswer(tt.subject, tt.reply); got != tt.want {
			t.Errorf("an answer to %s on %s: %v, want %v", tt.subject, tt.reply, got, tt.want)
		}
	}
}
