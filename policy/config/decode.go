package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"

	"skua/internal/diag"
)

// Decode reads TOML text into the struct that into points to. Fields are matched by their toml tag,
// in exactly its case; a type with UnmarshalText is given the value as text, also where the file has
// a number or a boolean, and one with UnmarshalTOML(any) the value itself. name is the file's name
// for messages.
//
// Every value that is right is stored. Of what is wrong, the first in the file is returned, as a
// [diag.Problem].
func Decode(name string, data []byte, into any) error {
	rv := reflect.ValueOf(into)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || rv.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode %s: into %T, not a pointer to a struct", name, into)
	}
	if len(data) > MaxSize {
		return &diag.Problem{What: fmt.Sprintf("%s: longer than %d kB", name, MaxSize>>10), Hint: "is it the right file?"}
	}
	d := decoder{name: name}
	var top map[string]toml.Primitive
	md, err := toml.Decode(string(data), &top)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return &diag.Problem{What: fmt.Sprintf("%s:%d: %s", name, pe.Position.Line, pe.Message), Err: err}
		}
		return &diag.Problem{What: fmt.Sprintf("%s: %v", name, err), Err: err}
	}
	d.meta = &md
	d.table(nil, top, rv.Elem())
	if d.first != nil {
		return d.first
	}
	return nil
}

// decoder walks the tables of one file beside the structs they go into.
type decoder struct {
	name      string
	meta      *toml.MetaData
	first     *diag.Problem // what is wrong first in the file
	firstLine int
}

// table stores the keys of one table in the fields of one struct. Which of two mistakes is met first
// depends on the order of a map; complain keeps the one that stands first in the file.
func (d *decoder) table(path []string, keys map[string]toml.Primitive, into reflect.Value) {
	fields, names := fieldsOf(into)
	for key, value := range keys {
		at := append(path[:len(path):len(path)], key)
		field, ok := fields[key]
		if !ok {
			d.complain(value, fmt.Sprintf("unknown key %q", dotted(at)), diag.DidYouMean(key, names), nil)
			continue
		}
		d.value(at, value, field)
	}
}

// value stores one value in one field.
func (d *decoder) value(path []string, value toml.Primitive, into reflect.Value) {
	into = settle(into)
	kind := into.Kind()
	switch {
	case decodesItself(into.Type()):
		// Its method is called below.
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		// The TOML package would store -1 as a large number.
		var n int64
		if d.decode(path, value, &n, wanted(into.Type())) {
			if n < 0 || into.OverflowUint(uint64(n)) {
				d.complain(value, fmt.Sprintf("%s must be %s, not %d", dotted(path), wanted(into.Type()), n), "", nil)
				return
			}
			into.SetUint(uint64(n))
		}
		return
	case kind == reflect.Struct:
		if keys, ok := d.keys(path, value); ok {
			d.table(path, keys, into)
		}
		return
	case kind == reflect.Map:
		keys, ok := d.keys(path, value)
		if !ok {
			return
		}
		if into.IsNil() {
			into.Set(reflect.MakeMap(into.Type()))
		}
		for key, v := range keys {
			elem := reflect.New(into.Type().Elem()).Elem()
			d.value(append(path[:len(path):len(path)], key), v, elem)
			into.SetMapIndex(reflect.ValueOf(key).Convert(into.Type().Key()), elem)
		}
		return
	case kind == reflect.Slice:
		var elems []toml.Primitive
		if !d.decode(path, value, &elems, "a list") {
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(elems), len(elems)))
		for i, v := range elems {
			d.value(path, v, into.Index(i))
		}
		return
	}
	d.decode(path, value, into.Addr().Interface(), wanted(into.Type()))
}

// keys gives what stands in the table that value should be.
func (d *decoder) keys(path []string, value toml.Primitive) (map[string]toml.Primitive, bool) {
	var keys map[string]toml.Primitive
	if !d.decode(path, value, &keys, "a table") {
		return nil, false
	}
	if keys == nil { // the TOML package passes over a value that is no table
		d.complain(value, d.mismatch(path, "a table"), "", nil)
		return nil, false
	}
	return keys, true
}

// decode stores value in what into points to. If it cannot, it says what was wanted there.
func (d *decoder) decode(path []string, value toml.Primitive, into any, wanted string) bool {
	err := d.meta.PrimitiveDecode(value, into)
	if err == nil {
		return true
	}
	what := d.mismatch(path, wanted)
	if pe, ok := errors.AsType[toml.ParseError](err); ok && decodesItself(reflect.TypeOf(into).Elem()) {
		what = fmt.Sprintf("%s: %s", dotted(path), pe.Message) // in the words of the type itself
	}
	d.complain(value, what, "", err)
	return false
}

// mismatch says that the value at path is not what was wanted there.
func (d *decoder) mismatch(path []string, wanted string) string {
	what := fmt.Sprintf("%s must be %s", dotted(path), wanted)
	if is := typeNames[d.meta.Type(path...)]; is != "" && is != wanted {
		what += ", not " + is
	}
	return what
}

// complain notes that something is wrong with value, unless something before it is.
func (d *decoder) complain(value toml.Primitive, what, hint string, err error) {
	line := d.line(value)
	if d.first != nil && (d.firstLine < line || d.firstLine == line && d.first.What < what) {
		return
	}
	d.firstLine = line
	d.first = &diag.Problem{What: fmt.Sprintf("%s:%d: %s", d.name, line, what), Hint: hint, Err: err}
}

// line tells where the key of value stands; for a table that is only named by its keys, where the
// first of them does. The TOML package tells positions in errors only, so it is made to report one.
func (d *decoder) line(value toml.Primitive) int {
	if pe, ok := errors.AsType[toml.ParseError](d.meta.PrimitiveDecode(value, refuser{})); ok && pe.Position.Line > 0 {
		return pe.Position.Line
	}
	first := 0
	var keys map[string]toml.Primitive
	if d.meta.PrimitiveDecode(value, &keys) == nil {
		for _, v := range keys {
			if n := d.line(v); n > 0 && (first == 0 || n < first) {
				first = n
			}
		}
	}
	return first
}

// refuser takes no value at all.
type refuser struct{}

func (refuser) UnmarshalTOML(any) error { return errors.New("refused") }

// fieldsOf gives the fields of a struct by their keys, and the keys in the order of the struct. An
// embedded struct's fields count as its own.
func fieldsOf(s reflect.Value) (fields map[string]reflect.Value, names []string) {
	fields = map[string]reflect.Value{}
	for _, f := range reflect.VisibleFields(s.Type()) {
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if key == "" || key == "-" {
			continue
		}
		fields[key] = s.FieldByIndex(f.Index)
		names = append(names, key)
	}
	return fields, names
}

// settle follows pointers, making what they are to point to.
func settle(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	return v
}

// decodesItself reports whether *t reads its own text or, to tell a text from a number, its own TOML
// value: a string, int64, float64, bool, time.Time, []any or map[string]any.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || p.Implements(reflect.TypeFor[toml.Unmarshaler]())
}

// typeNames are the TOML package's names of types in the words of our messages.
var typeNames = map[string]string{
	"String": "a text in quotes", "Integer": "a whole number", "Float": "a number", "Bool": "true or false",
	"Datetime": "a date", "Array": "a list", "Hash": "a table", "ArrayHash": "a list of tables",
}

// wanted says what a value of type t looks like in a file.
func wanted(t reflect.Type) string {
	switch k := t.Kind(); {
	case decodesItself(t), k == reflect.String:
		return "a text in quotes"
	case k == reflect.Bool:
		return "true or false"
	case k >= reflect.Int && k <= reflect.Int64:
		return "a whole number"
	case k >= reflect.Uint && k <= reflect.Uint64:
		return "a whole number, not negative"
	case k == reflect.Float32 || k == reflect.Float64:
		return "a number"
	}
	return "a value of another type"
}

// dotted writes the path of a key as a person would name it.
func dotted(path []string) string { return strings.Join(path, ".") }
