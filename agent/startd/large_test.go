package startd

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"skua/agent/starter"
	"skua/internal/job"
)

// Of a directory with very many entries no more is read than counts, so that a job cannot make the agent large. What is
// counted is how often memory is asked for, of which each entry takes some.
func TestLargeDirectoriesAreReadInPart(t *testing.T) {
	const entries = 12_000
	root := scratch(t, "many/first")
	for _, dir := range []string{".", "many"} {
		for i := range entries {
			f, err := root.Create(path.Join(dir, fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	for name, tt := range map[string]struct {
		do   func() error
		want string
	}{
		"new files": {func() error { _, err := (&tenant{}).newFiles(root, nil, none); return err }, "the job made more than the 1000 files that come back"},
		"declared outputs": {func() error {
			_, err := declaredOutputs(root, nil, []string{"many"}, none, starter.Exit{}, "")
			return err
		}, "more than 1000 files: have the job pack them"},
	} {
		var err error
		if n := testing.AllocsPerRun(1, func() { err = tt.do() }); n >= entries {
			t.Errorf("%s: memory was asked for %v times, for %d entries", name, n, entries)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if got := whatIsThere(root, ""); !strings.HasSuffix(got, " and more than 9990 more") {
		t.Errorf("there is %q", got)
	}
}

// Directories can lie deeper than a path reaches.
func TestPathsWithoutEnd(t *testing.T) {
	root := scratch(t, "file")
	deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 200)+"/", 50), "/")
	if err := root.MkdirAll(path.Join("out", deep), 0o755); err != nil {
		t.Skip("no such paths here:", err)
	}
	var held *holdError
	if _, err := declaredOutputs(root, nil, []string{"out"}, none, starter.Exit{}, ""); !errors.As(err, &held) || held.code != job.HoldTransferOutput || !strings.HasSuffix(held.reason, "cannot be read: its path is too long") {
		t.Errorf("%.200v, want a hold", err)
	}
}
