package submitfile

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUnheeded(t *testing.T) {
	const head = "executable = sim\n"
	for _, tt := range []struct {
		src  string
		want []string
	}{
		{head + "queue", nil},
		{head + "leave_in_queue = true\nqueue 5", []string{"job.sub:2: leave_in_queue has no effect yet: jobs that have ended are in skua history"}},
		{head + "+KeepClaimIdle = 60\nqueue", []string{"job.sub:2: +KeepClaimIdle has no effect yet: a machine takes another job as soon as this one has left"}},
		{head + "KeepClaimIdle = 60\nqueue", []string{"job.sub:2: KeepClaimIdle has no effect yet: a machine takes another job as soon as this one has left"}},
		{head + "match_list_length = 5\nqueue", []string{"job.sub:2: match_list_length has no effect yet: the machines that it has had do not go into the job's ad"}},
		{head + "encrypt_input_files = a\nqueue", []string{"job.sub:2: encrypt_input_files asks for what no machine can do yet: the job waits for one that can"}},
		// What happens anyway needs no note.
		{head + "leave_in_queue = False\nnice_user = false\nqueue", nil},
		{head + "stream_output = false\nwhen_to_transfer_output = ON_EXIT\nshould_transfer_files = YES\nqueue", nil},
	} {
		if notes := mustExpand(t, tt.src, here()).Notes; !slices.Equal(notes, tt.want) {
			t.Errorf("%s\nnotes %q, want %q", tt.src, notes, tt.want)
		}
	}
}

// TestUnheededStillIs finds the notes that are not true any more, since something reads the attribute.
func TestUnheededStillIs(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "submitfile" || e.Name() == "testdata" || len(e.Name()) > 2 && strings.HasPrefix(e.Name(), ".")) {
			return fs.SkipDir
		}
		if e.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, u := range unheeded {
			if u.attr != "" && bytes.Contains(text, []byte(`"`+u.attr+`"`)) {
				t.Errorf("%s uses %s: is it true that %s has no effect?", name, u.attr, u.command)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
