package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Nothing goes out when one of the files is no good, and the problem names file, line and key.
func TestReadPolicies(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string, groups ...string) {
		t.Helper()
		if texts, err := readPolicies(dir, groups); err == nil || !strings.Contains(err.Error(), want) || texts != nil {
			t.Errorf("%v: got %v, %v; want %q", groups, texts, err, want)
		}
	}
	fails("there are no policies in " + dir)
	write("lab.toml", "preset = \"lab-night\"\n")
	write("office.toml", "preset = \"office\"\n")
	write("README", "not a policy")
	texts, err := readPolicies(dir, nil)
	if err != nil || len(texts) != 2 || texts[0].group != "lab" || string(texts[1].text) != "preset = \"office\"\n" {
		t.Errorf("all are %q, %v", texts, err)
	}
	if texts, err := readPolicies(dir, []string{"office"}); err != nil || len(texts) != 1 || texts[0].group != "office" {
		t.Errorf("one is %q, %v", texts, err)
	}
	fails("there is no "+filepath.Join(dir, "servers.toml"), "office", "servers")
	fails("cannot be the name of a group", "../lab")
	write("office.toml", "preset = \"office\"\n[owner]\nidle_afer = \"5m\"\n")
	fails(filepath.Join(dir, "office.toml") + `:3: unknown key "owner.idle_afer"`)
	write("office.toml", "[drain]\nbefore = \"20m\"\n")
	fails(filepath.Join(dir, "office.toml") + ": drain.before would do nothing")
	write("Office 2.toml", "")
	fails("cannot be the name of a group")
}
