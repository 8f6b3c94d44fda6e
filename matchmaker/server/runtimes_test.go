package server

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"skua/internal/blob"
	"skua/internal/wire"
)

// tableOf makes a table of "name=content" words.
func tableOf(words ...string) []wire.RuntimeRow {
	rows := []wire.RuntimeRow{}
	for _, w := range words {
		name, content, _ := strings.Cut(w, "=")
		rows = append(rows, wire.RuntimeRow{Name: name, Digest: blob.Sum([]byte(content)), Size: int64(len(content))})
	}
	return rows
}

func TestAddRuntime(t *testing.T) {
	var full []string
	for i := range maxRuntimes {
		full = append(full, fmt.Sprintf("r%03d=x", i))
	}
	for _, tt := range []struct {
		name    string
		table   []string
		add     string
		replace bool
		want    []string // nil for no change
		fault   string
	}{
		{"the first", nil, "a=1", false, []string{"a=1"}, ""},
		{"before another", []string{"b=1"}, "a=1", false, []string{"a=1", "b=1"}, ""},
		{"between two", []string{"a=1", "c=1"}, "b=2", false, []string{"a=1", "b=2", "c=1"}, ""},
		{"the same again", []string{"a=1"}, "a=1", false, nil, ""},
		{"another of the name", []string{"a=1", "b=1"}, "a=2", false, nil, "there is another runtime root a"},
		{"in its place", []string{"a=1", "b=1"}, "a=2", true, []string{"a=2", "b=1"}, ""},
		{"in nobody's place", []string{"b=1"}, "a=2", true, []string{"a=2", "b=1"}, ""},
		{"too many", full, "s=1", false, nil, "cannot have more"},
		{"as many, another content", full, "r007=y", true, slices.Replace(slices.Clone(full), 7, 8, "r007=y"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := tableOf(tt.table...)
			got, err := addRuntime(table, tableOf(tt.add)[0], tt.replace)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("the error is %v, want one about %q", err, tt.fault)
				}
			} else if err != nil {
				t.Error(err)
			}
			var want []wire.RuntimeRow
			if tt.want != nil {
				want = tableOf(tt.want...)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the table is %v, want %v", got, want)
			}
			if !reflect.DeepEqual(table, tableOf(tt.table...)) {
				t.Errorf("the table before has become %v", table)
			}
		})
	}
}

func TestRemoveRuntime(t *testing.T) {
	table := tableOf("alpine=1", "debian11=2", "debian12=3")
	for name, want := range map[string][]wire.RuntimeRow{
		"alpine": tableOf("debian11=2", "debian12=3"), "debian11": tableOf("alpine=1", "debian12=3"), "debian12": tableOf("alpine=1", "debian11=2"),
	} {
		if got, err := removeRuntime(table, name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("without %s there are %v (%v), want %v", name, got, err, want)
		}
	}
	if got, err := removeRuntime(tableOf("a=1"), "a"); err != nil || got == nil || len(got) > 0 {
		t.Errorf("without the last one there are %v (%v), want none, which is a change", got, err)
	}
	if _, err := removeRuntime(table, "debain12"); err == nil || !strings.Contains(err.Error(), `no runtime root "debain12"`) {
		t.Errorf("what is not there: %v", err)
	}
}

// What a table is read as is written and read as the same; whatever else the bus has is an error.
func FuzzReadRuntimes(f *testing.F) {
	good, err := wire.Encode(runtimeTable{V: 1, Runtimes: tableOf("a=1", "b=2")})
	if err != nil {
		f.Fatal(err)
	}
	if got, err := readRuntimes(good); err != nil || !reflect.DeepEqual(got, tableOf("a=1", "b=2")) {
		f.Fatalf("the table was read as %v (%v)", got, err)
	}
	f.Add(good)
	f.Add([]byte(`{"v":1,"runtimes":[{"name":"../x","digest":"no"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := readRuntimes(data)
		if err != nil {
			return
		}
		for _, r := range table {
			if err := checkRuntime(r); err != nil {
				t.Error(err)
			}
		}
		text, err := wire.Encode(runtimeTable{V: 1, Runtimes: table})
		if err != nil {
			return // it grew over the limit when it was written out in full
		}
		if again, err := readRuntimes(text); err != nil || len(again) != len(table) {
			t.Errorf("it was read, written, and then read as %v (%v)", again, err)
		}
	})
}
