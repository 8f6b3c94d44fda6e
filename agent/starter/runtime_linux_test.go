package starter

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/job"
)

// runtimeOf makes a runtime root of some programs of this machine and the libraries that they need, in which nothing is the
// same file: all are longer by a byte.
func runtimeOf(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, append(b, 0), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	library := regexp.MustCompile(`(/\S+) \(0x`)
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			t.Fatal(err)
		}
		put(path)
		if base := filepath.Join(dir, "usr/bin", name); filepath.Base(path) != name {
			if err := os.Symlink(filepath.Base(path), base); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Skip("ldd: ", err)
		}
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			put(m[1])
		}
	}
	for _, d := range []string{"etc", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"etc/motto": "its own", "etc/passwd": "not ours"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "bin")); err != nil {
		if err := os.Symlink("usr/bin", filepath.Join(dir, "bin")); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"etc/everything": "/", "opt": "/proc/1/root/usr"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openWith(t *testing.T, s *Starter, claim, root string) *Init {
	t.Helper()
	i, err := s.Open(t.Context(), ClaimSpec{Claim: job.ClaimID(claim), Lease: time.Hour, Runtime: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Kill(); err != nil {
			t.Error(err)
		}
		i.Close()
	})
	return i
}

// A job with a runtime root sees that and nothing of the machine's, and goes on elsewhere with the same one, whatever
// the machine has.
func TestRuntimeRoot(t *testing.T) {
	capable(t)
	root := runtimeOf(t, "sh", "cat", "sleep", "ls", "chroot")
	s := newStarter(t, nil)
	i := openWith(t, s, "first", root)
	script := `cat /etc/motto; echo; ls /; ls /etc; cat /etc/passwd; ls /usr/bin; ls /etc/everything/; cat /proc/self/mounts > mounts; ` +
		`(echo x > /usr/x) && echo written; (echo x > /etc/x) && echo written; ls /opt/ /proc/1/root/ && echo escaped; chroot /proc/1/root ls && echo escaped; ` +
		`chroot / ls && echo escaped; echo x > /tmp/y && echo tmp; echo ready > ready; while [ ! -e stop ]; do echo n >> steps; sleep 0.01; done; exit 7`
	spec := JobSpec{Job: testJob, Argv: []string{"sh", "-c", script}, Stdout: "out", Stderr: "err"}
	run(t, i, spec)
	await(t, "the job is ready", func() bool { _, err := os.Stat(filepath.Join(i.Scratch(), "ready")); return err == nil })
	out := readScratch(t, i, "out")
	t.Logf("%s\n%s", out, readScratch(t, i, "err"))
	for _, want := range []string{"its own", "skua:x:1000", "motto", "scratch", "tmp\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not see %q", want)
		}
	}
	if strings.Contains(out, "not ours") || strings.Contains(out, "python") || strings.Contains(out, "gcc") ||
		strings.Contains(out, "written") || strings.Contains(out, "escaped") {
		t.Error("it sees what it must not")
	}
	if capabilities().Checkpoint {
		stats, err := i.Checkpoint(t.Context(), false)
		if err != nil {
			b, _ := os.ReadFile(filepath.Join(i.ImageDir(), "dump.log"))
			t.Fatalf("%v\n%s", err, b)
		}
		t.Log(stats)
		m, err := checkpoint.ReadMeta(i.ImageDir())
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Needs.Files) > 0 {
			t.Errorf("its image needs %s of the machine", m.Needs.FileList())
		}
		there := openWith(t, s, "second", root)
		carry(t, i, there)
		if err := there.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
			b, _ := os.ReadFile(filepath.Join(there.ImageDir(), "restore.log"))
			t.Fatalf("%v\n%s", err, b)
		}
		i = there
	}
	grows(t, i, "steps")
	if err := os.WriteFile(filepath.Join(i.Scratch(), "stop"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	if e := i.Exit(); e.Code != 7 {
		t.Errorf("it ended with %+v", e)
	}
}

// Where a shared directory would be shown, a runtime root may not have a link, which would lead to somewhere else.
func TestRuntimeRootWithLinks(t *testing.T) {
	capable(t)
	root, trap := t.TempDir(), t.TempDir()
	for _, dir := range []string{root, trap} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(trap, filepath.Join(root, "usr")); err != nil {
		t.Fatal(err)
	}
	s := newStarter(t, nil)
	i, err := s.Open(t.Context(), ClaimSpec{Claim: "trapped", Lease: time.Hour, Runtime: root, Shared: []string{"/usr/share"}})
	if err == nil {
		i.Kill()
		i.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "/usr is a link") {
		t.Errorf("the claim is opened: %v", err)
	}
	if left, err := os.ReadDir(trap); err != nil || len(left) > 0 {
		t.Errorf("where the link leads to there is %v (%v)", left, err)
	}
}
