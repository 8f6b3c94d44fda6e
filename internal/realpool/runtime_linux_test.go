package realpool_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"skua/internal/fit"
	"skua/internal/realpool"
)

// runtimeRoot makes an archive of programs of this machine with their libraries: programs.tar.zst.
func runtimeRoot(t *testing.T, p *realpool.Pool, programs ...string) {
	t.Helper()
	needProgram(t, append(programs, "tar", "ldd", "zstd")...)
	names := map[string]bool{}
	for _, top := range []string{"/bin", "/lib", "/lib64"} {
		if fi, err := os.Lstat(top); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			names[top] = true
		}
	}
	library := regexp.MustCompile(`(/\S+) \(0x`)
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		names[path] = true
		if path, err = filepath.EvalSymlinks(path); err != nil {
			t.Fatal(err)
		}
		names[path] = true
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Skip("ldd: ", err)
		}
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			whole, err := filepath.EvalSymlinks(m[1])
			if err != nil {
				t.Fatal(err)
			}
			dir, err := filepath.EvalSymlinks(filepath.Dir(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			names[whole], names[filepath.Join(dir, filepath.Base(m[1]))] = true, true
		}
	}
	var list strings.Builder
	for name := range names {
		fmt.Fprintln(&list, strings.TrimPrefix(name, "/"))
	}
	c := exec.Command("tar", "--zstd", "-cf", filepath.Join(p.Dir, "programs.tar.zst"), "-C", "/", "-T", "-")
	c.Stdin = strings.NewReader(list.String())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

// A job that brings its programs and libraries, and is held to a level, goes on elsewhere from an image that needs no
// file of the machine's, and no more than the level of its processor.
func TestRuntimeRoot(t *testing.T) {
	can := needSandbox(t)
	if !can.Checkpoint {
		t.Skip("this machine cannot checkpoint jobs: ", can.CheckpointWhy)
	}
	p := realpool.Start(t, bin, realpool.Config{Agents: 2, Lease: 60})
	p.Script("steps", realpool.Stepper)
	runtimeRoot(t, p, "sh", "sleep", "date", "od", "tr")
	id := p.Submit("steps.sub", fmt.Sprintf(`executable = steps
arguments = %s/steps 80 0.1
output = steps.out
log = steps.log
runtime_root = programs.tar.zst
cpu_baseline = x86-64-v2
queue
`, p.Journal)) + ".0"
	p.Await("the job makes steps", func() bool { return len(p.Lines("steps")) >= 3 })
	p.Must("skua", "vacate", id)
	p.Await("the job goes on from its checkpoint", func() bool {
		for _, a := range p.Agents {
			if strings.Contains(a.Log(), "goes on from its checkpoint") {
				return true
			}
		}
		return false
	})
	stood := len(p.Lines("steps"))
	p.Await("the job makes steps", func() bool { return len(p.Lines("steps")) > stood+2 })
	ad := p.Must("skua", "q", "--long", id)
	if strings.Contains(ad, fit.AttrJobFiles+" =") || !strings.Contains(ad, fit.AttrJobBaseline+` = "x86-64-v2"`) || strings.Contains(ad, "avx") {
		t.Errorf("its checkpoint needs more than it should:\n%s", ad)
	}
	p.Must("skua", "wait", id, "--timeout", "4m")
	checkSteps(t, p, 80, 1)
}

// A runtime root that the administrator has put into the pool is had by its name. A job that waits keeps the one that the
// name meant when it was submitted, though it gets another and goes.
func TestPoolRuntime(t *testing.T) {
	needSandbox(t)
	p := realpool.Start(t, bin, realpool.Config{Agents: 1, Lease: 60})
	p.Write("usr/share/version", "one\n")
	runtimeRoot(t, p, "sh", "cat")
	archive := filepath.Join(p.Dir, "programs.tar.zst")
	extend := func(to string) string {
		t.Helper()
		plain := filepath.Join(p.Dir, to)
		for _, args := range [][]string{{"zstd", "-qdf", archive, "-o", plain}, {"tar", "-rf", plain, "-C", p.Dir, "usr/share/version"}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", args[0], err, out)
			}
		}
		return plain
	}
	first := extend("first.tar")
	p.Write("usr/share/version", "two\n")
	second := extend("second.tar")
	p.Script("tell", "cat /usr/share/version")
	description := func(out string) string {
		return fmt.Sprintf("executable = tell\nruntime_root = pool:tools-1\noutput = %s\nlog = tell.log\n", out)
	}

	p.Admin("runtime", "add", "tools-1", first)
	if said := p.Must("skua", "runtimes"); !strings.Contains(said, "pool:tools-1") {
		t.Errorf("users see %q", said)
	}
	waits := p.Submit("waits.sub", description("waits.out")+"hold = true\nqueue\n")
	now := p.Submit("now.sub", description("now.out")+"queue\n")
	p.Must("skua", "wait", now, "--timeout", "4m")
	p.Admin("runtime", "add", "tools-1", second, "--replace")
	next := p.Submit("next.sub", description("next.out")+"queue\n")
	p.Must("skua", "wait", next, "--timeout", "4m")
	p.Admin("runtime", "remove", "tools-1")
	p.Must("skua", "release", waits)
	p.Must("skua", "wait", waits, "--timeout", "4m")
	for out, want := range map[string]string{"now.out": "one\n", "next.out": "two\n", "waits.out": "one\n"} {
		if got := p.Read(out); got != want {
			t.Errorf("%s is %q, want %q", out, got, want)
		}
	}
	p.Write("late.sub", description("late.out")+"queue\n")
	if _, said, code := p.Run("", "skua", "submit", "late.sub"); code != 1 || !strings.Contains(said, "late.sub:2:16: runtime_root = pool:tools-1: the pool has no runtime root of that name") {
		t.Errorf("a name that has gone: exit %d, %s", code, said)
	}
}
