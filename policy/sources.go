package policy

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"skua/policy/classad"
)

// Source says where the value of one key of a combined policy is from.
type Source struct {
	Key   string // "owner.idle_after"
	Value string // as a file would have it
	From  Origin
}

// Origin is the file that a value is from.
type Origin string

// The origins.
const (
	FromCentral       Origin = "central"
	FromLocal         Origin = "local"
	FromBoth          Origin = "central and local" // they say the same, or the value is made of what both say
	FromCentralPreset Origin = "central, its preset"
	FromLocalPreset   Origin = "local, its preset"
)

// sources compares a combined file with what it is made of: the files as they were spelled out, and as
// they were written.
func sources(out, c, l, central, local *File) []Source {
	var all []Source
	for _, k := range combiners {
		if k.key == "machine" {
			all = append(all, attributeSources(out, c, l)...)
			continue
		}
		value := textOf(out, k.key)
		if value == "" {
			continue
		}
		s := Source{Key: k.key, Value: value, From: FromBoth}
		switch fromC, fromL := value == textOf(c, k.key), value == textOf(l, k.key); {
		case fromC == fromL:
		case fromL && textOf(local, k.key) == "":
			s.From = FromLocalPreset
		case fromL:
			s.From = FromLocal
		case textOf(central, k.key) == "":
			s.From = FromCentralPreset
		default:
			s.From = FromCentral
		}
		all = append(all, s)
	}
	return all
}

// attributeSources has the table [machine], name by name.
func attributeSources(out, c, l *File) []Source {
	if out.Machine.Ad == nil {
		return nil
	}
	var all []Source
	names := slices.Clone(out.Machine.Names())
	slices.Sort(names)
	for _, name := range names {
		e, _ := out.Machine.Lookup(name)
		s := Source{Key: "machine." + name, Value: e.OldString(), From: FromCentral}
		if textIn(l.Machine.Ad, name) != "" {
			s.From = FromLocal
			if textIn(c.Machine.Ad, name) == s.Value {
				s.From = FromBoth
			}
		}
		all = append(all, s)
	}
	return all
}

// textIn is the text of an attribute, "" where it is not there.
func textIn(ad *classad.Ad, name string) string {
	if ad == nil {
		return ""
	}
	e, ok := ad.Lookup(name)
	if !ok {
		return ""
	}
	return e.OldString()
}

// saysAnything says whether a file has any key.
func (f File) saysAnything() bool { return !reflect.ValueOf(f).IsZero() }

// textOf gives the value of a key for people, "" where the file does not say it.
func textOf(f *File, key string) string {
	v := reflect.ValueOf(f).Elem()
	for part := range strings.SplitSeq(key, ".") {
		v = field(v, part)
	}
	return text(v)
}

// field finds the field of a struct that has a key.
func field(v reflect.Value, key string) reflect.Value {
	t := v.Type()
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") == key {
			return v.Field(i)
		}
	}
	panic(fmt.Sprintf("policy: %v has no key %q", t, key)) // the list of keys is in the source, and tested
}

// text writes a value as people do.
func text(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil(), v.Kind() == reflect.Slice && v.IsNil():
		return ""
	case v.Kind() == reflect.Pointer:
		if n, ok := v.Interface().(*int); ok && *n == everySlot {
			return "all"
		}
		return fmt.Sprint(readable(v.Elem()))
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return "none"
	case v.Kind() == reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, fmt.Sprint(readable(v.Index(i))))
		}
		return strings.Join(parts, ", ")
	case v.IsZero():
		return ""
	}
	return fmt.Sprint(readable(v))
}

// readable is a value that prints as it is written.
func readable(v reflect.Value) any {
	switch v := v.Interface().(type) {
	case Expression:
		return v.OldString()
	case Span:
		if v.Days == ([7]bool{}) {
			return "never"
		}
		return v.String()
	case encoding.TextMarshaler:
		if data, err := v.MarshalText(); err == nil {
			return string(data)
		}
	}
	return v.Interface()
}
