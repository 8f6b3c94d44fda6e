package policy

import (
	"reflect"
	"slices"
	"testing"
)

// Whoever adds a key must say how two files are combined in it.
func TestEveryKeyHasARule(t *testing.T) {
	want := leaves(reflect.TypeFor[File](), "")
	var got []string
	for _, c := range combiners {
		got = append(got, c.key)
	}
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("the key %s of a policy has no rule: add it to combiners, and a case to TestCombine", key)
		}
	}
	for _, key := range got {
		if !slices.Contains(want, key) {
			t.Errorf("there is a rule for %s, which is no key", key)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rules for %d keys", len(got), len(want))
	}
}

// leaves are the keys of a file that hold values, not tables.
func leaves(s reflect.Type, table string) []string {
	var keys []string
	for i := range s.NumField() {
		f := s.Field(i)
		key := table + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct && f.Type.Field(0).Tag.Get("toml") != "" {
			keys = append(keys, leaves(f.Type, key+".")...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

// A preset says every key that has a default, so that combining two presets forgets none.
func TestSpelledOutIsTheSame(t *testing.T) {
	for _, p := range everyPreset {
		short, err := Derive(File{Preset: p})
		if err != nil {
			t.Fatal(err)
		}
		f, err := File{Preset: p}.spelledOut()
		if err != nil {
			t.Fatal(err)
		}
		f.Owner.SlotsConnected = nil
		long, err := Derive(f)
		if err != nil {
			t.Fatalf("%s, spelled out: %v", p, err)
		}
		if !reflect.DeepEqual(short, long) {
			t.Errorf("%s is %+v, spelled out %+v", p, short, long)
		}
		// Under another preset it is the same: nothing was left to the preset but what it looks at.
		d, err := p.defaults()
		if err != nil {
			t.Fatal(err)
		}
		if d.hasOwner && !d.mobile {
			f.Preset = Desktop
			other, err := Derive(f)
			if err != nil {
				t.Fatalf("%s, as desktop: %v", p, err)
			}
			for i, e := range short.expressions() {
				if got := (*other.expressions()[i].expr).String(); got != (*e.expr).String() {
					t.Errorf("%s: %s is %s, spelled out for desktop %s", p, e.name, *e.expr, got)
				}
			}
		}
	}
}
