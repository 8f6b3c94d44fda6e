package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"skua/internal/diag"
	"skua/internal/quantity"
)

// sample has every kind of field that our programs use.
type sample struct {
	Preset string             `toml:"preset"`
	Owner  sampleOwner        `toml:"owner"`
	Limits map[string]limit   `toml:"limits"`
	Hours  []string           `toml:"hours"`
	Users  []sampleUser       `toml:"users"`
	Labels map[string]string  `toml:"labels"`
	Size   quantity.Bytes     `toml:"size"`
	Share  *quantity.Share    `toml:"share"`
	Any    map[string]literal `toml:"any"`
}

type sampleOwner struct {
	IdleAfter *quantity.Duration `toml:"idle_after"`
	Load      float64            `toml:"background_load"`
	Pause     bool               `toml:"may_pause"`
	Port      uint16             `toml:"port"`
	Nice      int8               `toml:"nice"`
}

type limit struct {
	CPUs int `toml:"cpus"`
}

type sampleUser struct {
	Name string `toml:"name"`
}

// literal keeps the TOML value it was given.
type literal struct{ v any }

func (l *literal) UnmarshalTOML(v any) error {
	if _, ok := v.(map[string]any); ok {
		return errors.New("no tables here")
	}
	l.v = v
	return nil
}

func TestDecode(t *testing.T) {
	const text = `
preset = "desktop"
hours = ["Mon", "Tue"]
size = "20GB"
share = 4
[owner]
idle_after = "15m"
background_load = 1
may_pause = true
port = 9618
nice = -3
[limits.night]
cpus = 4
[[users]]
name = "a"
[[users]]
name = "b"
[labels]
"a b" = "c"
[any]
n = 1
s = "1"
`
	var got sample
	if err := Decode("x.toml", []byte(text), &got); err != nil {
		t.Fatal(err)
	}
	idle := quantity.Duration(15 * time.Minute)
	want := sample{
		Preset: "desktop",
		Hours:  []string{"Mon", "Tue"},
		Size:   20e9,
		Share:  &quantity.Share{Count: 4},
		Owner:  sampleOwner{IdleAfter: &idle, Load: 1, Pause: true, Port: 9618, Nice: -3},
		Limits: map[string]limit{"night": {CPUs: 4}},
		Users:  []sampleUser{{"a"}, {"b"}},
		Labels: map[string]string{"a b": "c"},
		Any:    map[string]literal{"n": {int64(1)}, "s": {"1"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestDecodeKeepsWhatTheFileLeavesOut(t *testing.T) {
	got := sample{Preset: "desktop", Size: 7}
	if err := Decode("x.toml", []byte("owner.idle_after = \"1m\"\n"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Preset != "desktop" || got.Size != 7 || *got.Owner.IdleAfter != quantity.Duration(time.Minute) {
		t.Errorf("got %+v", got)
	}
}

func TestDecodeProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want, hint string }{
		{
			"unknown key", "preset = \"x\"\n[owner]\nidle_aftr = \"5m\"\n",
			`x.toml:3: unknown key "owner.idle_aftr"`, `did you mean "idle_after"?`,
		},
		{"unknown table", "\n[ownr]\n", `x.toml:2: unknown key "ownr"`, `did you mean "owner"?`},
		{"case counts", "Preset = \"x\"\n", `x.toml:1: unknown key "Preset"`, `did you mean "preset"?`},
		{"nothing near", "zzz = 1\n", `x.toml:1: unknown key "zzz"`, ""},
		{"the first of several", "zz = 1\nyy = 1\nxx = 1\naa = 1\n", `x.toml:1: unknown key "zz"`, ""},
		{"inline table", "owner = { port = 1, prt = 2 }\n", `x.toml:1: unknown key "owner.prt"`, `did you mean "port"?`},
		{"unknown key in a map of tables", "[limits.night]\ncpu = 1\n", `x.toml:2: unknown key "limits.night.cpu"`, `did you mean "cpus"?`},
		{"text for a table", "owner = \"me\"\n", "x.toml:1: owner must be a table, not a text in quotes", ""},
		{"table for a text", "[preset]\n", "x.toml:1: preset must be a text in quotes, not a table", ""},
		{"number for a boolean", "[owner]\n\nmay_pause = 1", "x.toml:3: owner.may_pause must be true or false, not a whole number", ""},
		{"text for a number", "[owner]\nbackground_load = \"a\"", "x.toml:2: owner.background_load must be a number, not a text in quotes", ""},
		{"text for a list", "hours = \"Mon\"", "x.toml:1: hours must be a list, not a text in quotes", ""},
		{"number in a list of texts", "hours = [1]", "x.toml:1: hours must be a text in quotes, not a list", ""},
		{"negative port", "owner.port = -1", "x.toml:1: owner.port must be a whole number, not negative, not -1", ""},
		{"large port", "owner.port = 70000", "x.toml:1: owner.port must be a whole number, not negative, not 70000", ""},
		{"small integer", "owner.nice = 300", "x.toml:1: owner.nice must be a whole number", ""},
		{
			"no unit", "[owner]\nidle_after = 15",
			`x.toml:2: owner.idle_after: duration "15" has no unit: write "15s" for seconds or "15m" for minutes`, "",
		},
		{"in the words of the type itself", "[any]\n[any.x]\ny=1", "x.toml:2: any.x: no tables here", ""},
		{"table that only its keys name", "\nany.x.y = 1", "x.toml:2: any.x: no tables here", ""},
		{"broken text", "preset = \"desktop\nsize = \"1GB\"", "x.toml:1: strings cannot contain newlines", ""},
		{"key twice", "preset = \"a\"\npreset = \"b\"", "x.toml:2: Key 'preset' has already been defined.", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got sample
			err := Decode("x.toml", []byte(tt.text), &got)
			var p *diag.Problem
			if !errors.As(err, &p) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if p.What != tt.want || p.Hint != tt.hint {
				t.Errorf("problem %q hint %q\nwant    %q hint %q", p.What, p.Hint, tt.want, tt.hint)
			}
		})
	}
}

func TestDecodeIntoNothing(t *testing.T) {
	for _, into := range []any{nil, sample{}, (*sample)(nil), new(int)} {
		if err := Decode("x.toml", nil, into); err == nil {
			t.Errorf("decoded into %T", into)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.toml")
	if err := os.WriteFile(file, []byte("preset = \"desktop\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got sample
	if err := Load(file, &got); err != nil || got.Preset != "desktop" {
		t.Errorf("loaded %+v, error %v", got, err)
	}
	if err := Load(filepath.Join(dir, "none.toml"), &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there gave %v", err)
	}
	if err := Load(dir, &got); diag.ExitCode(err) != diag.ExitFailure {
		t.Errorf("a directory gave %v", err)
	}
	if err := os.WriteFile(file, make([]byte, MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(file, &got); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file gave %v", err)
	}
}

// FuzzDecode: no text makes the decoder panic, every problem names a line, and what is right twice is
// the same twice.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"preset = \"desktop\"\n[owner]\nidle_after = \"15m\"\n", "[limits.a]\ncpus=1\n[[users]]\nname=\"x\"\n",
		"owner = { port = 1 }", "hours = [[[[", "any.a.b.c = 1", "share = \"50%\"", "\"\" = 1", "[\"a.b\"]\nx=1", "size = 1979-05-27",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second sample
		err := Decode("x.toml", []byte(text), &first)
		again := Decode("x.toml", []byte(text), &second)
		if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Fatalf("first %v, then %v", err, again)
		}
		if p, ok := errors.AsType[*diag.Problem](err); ok && (!strings.HasPrefix(p.What, "x.toml:") || strings.HasPrefix(p.What, "x.toml:0:")) {
			t.Errorf("no line in %q", p.What)
		}
	})
}
