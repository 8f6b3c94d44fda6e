package starter

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/agent/checkpoint"
	"skua/agent/probe"
	"skua/internal/fit"
)

func TestOfSystem(t *testing.T) {
	for path, want := range map[string]bool{
		"/usr/lib/x86_64-linux-gnu/libc.so.6": true,
		"/lib64/ld-linux-x86-64.so.2":         true,
		"/opt/tool/bin/tool":                  true,
		"/etc/ssl/certs/ca-certificates.crt":  true,
		"/etc/localtime":                      true,
		"/etc/python3.13/sitecustomize.py":    true,
		"/etc/passwd":                         false, // the sandbox's own
		"/etc/shadow":                         false, // which no job sees
		"/etc/ssl/private/key.pem":            false,
		"/etc/ssl":                            false,
		"/root/.ssh/id_ed25519":               false,
		"/home/kim/thesis.tex":                false,
		"/var/lib/private":                    false,
		"/etc/resolv.conf":                    false,
		"/scratch/bin/job":                    false,
		"/tmp/x":                              false,
		"/dev/shm/x":                          false,
		"/sys/devices/system/cpu/online":      false,
		"/usr":                                false,
		"/usrlocal/x":                         false,
		"/":                                   false,
	} {
		if got := OfSystem(path); got != want {
			t.Errorf("%s is of the system: %v", path, got)
		}
	}
}

// An image says what it needs: what the processor can do, and the programs and libraries that the job has
// mapped, with the build IDs that they have. After a move it still does.
func TestImageNeeds(t *testing.T) {
	capableOfCheckpoints(t)
	s := newStarter(t, nil)
	i := open(t, s, "first")
	run(t, i, counter(t, i, "sh"))
	second := move(t, i, s, "second")
	meta := func(i *Init) fit.Needs {
		t.Helper()
		m, err := checkpoint.ReadMeta(i.ImageDir())
		if err != nil {
			t.Fatal(err)
		}
		return m.Needs
	}
	first := meta(second) // which was carried there
	if got := first.Features; !slices.Equal(got, probe.Features()) {
		t.Errorf("it needs a processor with %v, this one has %v", got, probe.Features())
	}
	libc, seen := mappedBySh(t)
	var ids probe.SystemFiles
	for _, f := range first.Files {
		if have := ids.ID(f.Path, true); !f.ID.Fits(have) {
			t.Errorf("%s is %s for CRIU and %s for us", f.Path, f.ID, have)
		}
	}
	got := fit.ParseFiles(first.FileList())
	if !slices.Equal(got, first.Files) || first.More != 0 {
		t.Errorf("the list of files is %s, of %+v", first.FileList(), first)
	}
	needs := map[string]fit.ID{}
	for _, f := range first.Files {
		needs[f.Path] = f.ID
	}
	for _, path := range seen {
		if needs[path] == "" {
			t.Errorf("sh has %s mapped, and the image needs %s", path, first.FileList())
		}
	}
	if want := libcID(t, libc); needs[libc] != want {
		t.Errorf("%s is %q, want %s", libc, needs[libc], want)
	}
	for p := range needs {
		if strings.HasPrefix(p, ScratchPath) || strings.HasPrefix(p, "/tmp") {
			t.Errorf("the job brings %s with it", p)
		}
	}

	// What the processors before could do is kept.
	if _, err := second.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	m, err := checkpoint.ReadMeta(second.ImageDir())
	if err != nil {
		t.Fatal(err)
	}
	m.Needs.Features = fit.Union(m.Needs.Features, []string{"feature_of_before"})
	text, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second.ImageDir(), checkpoint.MetaName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got, want := meta(second).Features, fit.Union(probe.Features(), []string{"feature_of_before"}); !slices.Equal(got, want) {
		t.Errorf("after another image it needs %v, want %v", got, want)
	}
}

// mappedBySh gives the C library and all files that a shell has mapped.
func mappedBySh(t *testing.T) (libc string, all []string) {
	t.Helper()
	maps, err := exec.Command("/bin/sh", "-c", "while read -r line; do echo \"$line\"; done < /proc/$$/maps").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		path := strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])
		if strings.HasPrefix(path, "/") && !slices.Contains(all, path) {
			all = append(all, path)
		}
		if strings.HasSuffix(path, "/libc.so.6") {
			libc = path
		}
	}
	if libc == "" {
		t.Skip("sh is not linked with glibc")
	}
	return libc, all
}

// libcID reads the section with the build ID, which the product does not.
func libcID(t *testing.T, path string) fit.ID {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	note, err := f.Section(".note.gnu.build-id").Data()
	if err != nil || len(note) < 16 {
		t.Fatalf("the note of %s is %x (%v)", path, note, err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fit.ID(fmt.Sprintf("%x/%d", note[16:24], st.Size())) // after three numbers and "GNU"
}
