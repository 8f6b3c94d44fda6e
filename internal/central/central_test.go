package central_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"skua/internal/central"
	"skua/internal/trust"
	"skua/policy"
)

var noon = time.Date(2026, 12, 24, 12, 0, 0, 0, time.UTC)

func authority(t testing.TB) *trust.Authority {
	t.Helper()
	a, err := trust.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func sign(t testing.TB, a *trust.Authority, p central.Policy) []byte {
	t.Helper()
	data, err := p.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func lab(number int64, text string) central.Policy {
	return central.Policy{Group: "lab", Number: number, At: noon, Text: []byte(text)}
}

// edit changes one field of a message, and leaves the rest as it is.
func edit(t *testing.T, data []byte, field string, change func([]byte) []byte) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	var v []byte
	if err := json.Unmarshal([]byte(`"`+m[field].(string)+`"`), &v); err != nil {
		t.Fatal(err)
	}
	m[field] = change(v)
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOpen(t *testing.T) {
	a := authority(t)
	for _, p := range []central.Policy{
		lab(7, "preset = \"lab-night\"\n"),
		lab(8, ""),
		{Group: "lab", Number: 9, At: noon, Withdrawn: true},
		lab(10, "# "+strings.Repeat("&", central.MaxText-2)),
	} {
		got, err := central.Open(sign(t, a, p), a.Fingerprint())
		if err != nil || got.Group != p.Group || got.Number != p.Number || !got.At.Equal(p.At) || string(got.Text) != string(p.Text) || got.Withdrawn != p.Withdrawn {
			t.Errorf("policy %v became %v, %v", p, got, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	a := authority(t)
	for name, p := range map[string]central.Policy{
		"no group":              {Number: 1, At: noon},
		"a group with a path":   {Group: "../lab", Number: 1, At: noon},
		"no number":             {Group: "lab", At: noon},
		"too long":              lab(1, strings.Repeat("#", central.MaxText+1)),
		"withdrawn with a text": {Group: "lab", Number: 1, At: noon, Text: []byte("x"), Withdrawn: true},
	} {
		if _, err := p.Sign(a); !errors.Is(err, central.ErrBad) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		last int64
		want int64
	}{
		{0, 20261224120000},
		{20261224115959, 20261224120000},
		{20261224120000, 20261224120001}, // twice in a second
		{20991231000000, 20991231000001}, // a clock was wrong once
	} {
		if got := central.Next(tt.last, noon); got != tt.want {
			t.Errorf("after %d comes %d, want %d", tt.last, got, tt.want)
		}
	}
}

// Whatever is refused leaves in force and on disk what was there.
func TestTake(t *testing.T) {
	a, other := authority(t), authority(t)
	dir := t.TempDir()
	s, err := central.OpenStore(dir, "lab", a.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	var accepted []policy.File
	take := func(data []byte) (bool, error) {
		return s.Take(data, func(f policy.File) error { accepted = append(accepted, f); return nil })
	}
	now := lab(20, "preset = \"lab-night\"\n")
	if changed, err := take(sign(t, a, now)); !changed || err != nil {
		t.Fatalf("the first policy: %v, %v", changed, err)
	}
	if changed, err := take(sign(t, a, now)); changed || err != nil {
		t.Errorf("the same again, with another signature: %v, %v", changed, err)
	}
	if want := []policy.File{{Preset: policy.LabNight}}; !reflect.DeepEqual(accepted, want) {
		t.Errorf("accepted were %+v, want %+v", accepted, want)
	}
	good := sign(t, a, lab(21, "preset = \"office\"\n"))
	for _, tt := range []struct {
		name string
		data []byte
		is   error  // that it wraps, or
		says string // what it says
	}{
		{"tampered", edit(t, good, "statement", func(b []byte) []byte { return []byte(strings.Replace(string(b), `"number":21`, `"number":22`, 1)) }), trust.ErrBadSignature, ""},
		{"another signature", edit(t, good, "signature", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), trust.ErrBadSignature, ""},
		{"replayed", sign(t, a, lab(19, "preset = \"dedicated\"\n")), central.ErrOlder, "20"},
		{"another with the same number", sign(t, a, lab(20, "preset = \"dedicated\"\n")), nil, "another one with that number"},
		{"of another pool", sign(t, other, lab(21, "preset = \"dedicated\"\n")), trust.ErrBadSignature, "fingerprint"},
		{"of another group", sign(t, a, central.Policy{Group: "servers", Number: 21, At: noon, Text: []byte("preset = \"dedicated\"\n")}), central.ErrOtherGroup, "this machine is of lab"},
		{"oversized", append(good, make([]byte, central.MaxSigned)...), central.ErrBad, "bytes"},
		{"cut off", good[:len(good)/2], central.ErrBad, ""},
		{"two in one", append(append([]byte(nil), good...), good...), central.ErrBad, "something follows"},
		{"nothing", nil, central.ErrBad, ""},
		{"a field that nobody knows", []byte(strings.Replace(string(good), `{"v":1,`, `{"v":1,"until":"tomorrow",`, 1)), central.ErrBad, "until"},
		{"a newer version", []byte(strings.Replace(string(good), `{"v":1,`, `{"v":2,`, 1)), central.ErrBad, "version 2"},
		{"a key that this agent does not know", sign(t, a, lab(21, "[owner]\nidle_afer = \"20m\"\n")), nil, `central policy lab:2: unknown key "owner.idle_afer"`},
		{"a policy that contradicts itself", sign(t, a, lab(21, "[drain]\nbefore = \"20m\"\n")), nil, "drain.before would do nothing"},
	} {
		changed, err := take(tt.data)
		if changed || err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, %v; want an error with %v and %q", tt.name, changed, err, tt.is, tt.says)
		}
		again, err := central.OpenStore(dir, "lab", a.Fingerprint())
		if err != nil {
			t.Fatal(err)
		}
		for where, store := range map[string]*central.Store{"in force": s, "on disk": again} {
			if p, ok := store.Current(); !ok || p.String() != now.String() || string(p.Text) != string(now.Text) {
				t.Errorf("%s: %s is %v, %v", tt.name, where, p, ok)
			}
		}
	}
	if changed, err := s.Take(good, func(policy.File) error { return errors.New("not with us") }); changed || err == nil || !strings.Contains(err.Error(), "not with us") {
		t.Errorf("a policy that the machine cannot keep: %v, %v", changed, err)
	}
	if changed, err := take(good); !changed || err != nil {
		t.Errorf("a newer one: %v, %v", changed, err)
	}
	if p, ok := s.Current(); !ok || p.Number != 21 {
		t.Errorf("in force is %v, %v", p, ok)
	}
}

// A policy that was withdrawn does not come back.
func TestWithdrawn(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	before := sign(t, a, lab(1, "preset = \"office\"\n"))
	accept := func(policy.File) error { return nil }
	s, err := central.OpenStore(dir, "lab", a.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{before, sign(t, a, central.Policy{Group: "lab", Number: 2, At: noon, Withdrawn: true})} {
		if changed, err := s.Take(data, accept); !changed || err != nil {
			t.Fatalf("%v, %v", changed, err)
		}
	}
	if s, err = central.OpenStore(dir, "lab", a.Fingerprint()); err != nil {
		t.Fatal(err)
	}
	if p, ok := s.Current(); ok {
		t.Errorf("after it was withdrawn there is %v", p)
	}
	if _, err := s.Take(before, accept); !errors.Is(err, central.ErrOlder) {
		t.Errorf("the one that was withdrawn: %v", err)
	}
}

// Groups are kept apart, and what another pool has signed does not count, also when it is on disk.
func TestStores(t *testing.T) {
	a, other := authority(t), authority(t)
	dir := t.TempDir()
	s, err := central.OpenStore(dir, "lab", a.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(sign(t, a, lab(1, "")), func(policy.File) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		group, fingerprint string
		is                 error
	}{
		{"lab", other.Fingerprint(), trust.ErrBadSignature},
		{"office", a.Fingerprint(), nil},
	} {
		s, err := central.OpenStore(dir, tt.group, tt.fingerprint)
		if !errors.Is(err, tt.is) {
			t.Errorf("%s: error is %v, want %v", tt.group, err, tt.is)
		}
		if p, ok := s.Current(); ok {
			t.Errorf("%s of another pool or group has %v", tt.group, p)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files are %v, %v", files, err)
	}
	// One group's policy in the place of another's.
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(strings.Replace(files[0], "lab", "office", 1), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := central.OpenStore(dir, "office", a.Fingerprint()); !errors.Is(err, central.ErrOtherGroup) {
		t.Errorf("a policy in the place of another group's: %v", err)
	}
	if _, err := central.OpenStore(dir, "../office", a.Fingerprint()); err == nil {
		t.Error("a group with a path has a store")
	}
}

// FuzzOpen: nothing opens but what was signed, whatever is done to it.
func FuzzOpen(f *testing.F) {
	a, other := authority(f), authority(f)
	genuine := map[string]string{}
	for i, text := range []string{"", "preset = \"office\"\n"} {
		p := lab(int64(i+1), text)
		genuine[p.String()] = text
		f.Add(sign(f, a, p))
		f.Add(sign(f, other, p))
	}
	f.Add([]byte(`{"v":1,"statement":"e30=","signature":"","certificate":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := central.Open(data, a.Fingerprint())
		if err != nil {
			if !errors.Is(err, central.ErrBad) && !errors.Is(err, trust.ErrBadSignature) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if text, ok := genuine[p.String()]; !ok || text != string(p.Text) || p.Withdrawn {
			t.Errorf("opened as %v with %q", p, p.Text)
		}
	})
}
