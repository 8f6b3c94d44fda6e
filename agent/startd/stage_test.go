package startd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/job"
)

// scratch makes a directory as a job leaves it, with a secret beside it.
func scratch(t *testing.T, files ...string) *os.Root {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "scratch")
	for _, name := range append(files, "../secret/key") {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestDeclaredOutputs(t *testing.T) {
	root := scratch(t, "a.dat", "results/b.dat", "results/deep/c.dat", "_condor_stdout")
	for name, to := range map[string]string{
		"results/out": "../../secret", "results/key": "../../secret/key", "results/loop": ".", "latest": "a.dat", "theirs": "../secret",
	} {
		if err := root.Symlink(to, name); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	for _, tt := range []struct {
		declared string
		want     string
	}{
		{"a.dat", "a.dat"},
		{"results", "results/b.dat results/deep/c.dat"},
		{"results/", "results/b.dat results/deep/c.dat"},
		{"results/deep, ./results, a.dat", "results/deep/c.dat results/b.dat a.dat"},
		{"latest", "latest"},
		{"", ""},
	} {
		names, err := declaredOutputs(root, []string{job.StdoutFile}, strings.Split(tt.declared, ","))
		if want := append([]string{job.StdoutFile}, strings.Fields(tt.want)...); err != nil || !slices.Equal(names, want) {
			t.Errorf("%q brings back %q (%v), want %q", tt.declared, names, err, want)
		}
	}
	for _, tt := range []struct{ declared, want string }{
		{"b.dat", "did not make it; it left a.dat, latest, results/, theirs"},
		{"theirs", "did not make it"},
		{"../secret/key", "did not make it"},
		{"/etc/passwd", "did not make it"},
	} {
		_, err := declaredOutputs(root, nil, []string{tt.declared})
		var held *holdError
		if !errors.As(err, &held) || held.code != job.HoldTransferOutput || !strings.Contains(held.reason, tt.want) {
			t.Errorf("%q: error is %v, want a hold with %q", tt.declared, err, tt.want)
		}
	}
}

func TestDeclaredOutputsAreBounded(t *testing.T) {
	var many []string
	for i := range maxOutputs + 1 {
		many = append(many, fmt.Sprintf("many/%d", i))
	}
	root := scratch(t, many...)
	var held *holdError
	if _, err := declaredOutputs(root, nil, []string{"many"}); !errors.As(err, &held) || !strings.Contains(held.reason, "pack them") {
		t.Errorf("error is %v, want a hold that says what to do", err)
	}
	if _, err := declaredOutputs(root, nil, []string{"gone"}); !errors.As(err, &held) || !strings.Contains(held.reason, "it left many/") {
		t.Errorf("error is %v, want a hold that lists what there is", err)
	}
	few := scratch(t, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b")
	if _, err := declaredOutputs(few, nil, []string{"gone"}); !errors.As(err, &held) || !strings.Contains(held.reason, "8, 9 and 2 more") {
		t.Errorf("error is %v, want a hold that lists ten files", err)
	}
}
