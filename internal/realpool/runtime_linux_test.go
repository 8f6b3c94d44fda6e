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
