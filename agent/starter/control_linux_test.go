package starter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestControlFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "cgroup.threads")
	if _, err := readControl(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a file that is not there: %v", err)
	}
	if err := writeControl(name, []byte("1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing one: %v", err)
	}
	for _, size := range []int{0, 1, 1 << 10, 100_000} {
		text := strings.Repeat("x", size)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readControl(name); err != nil || string(got) != text {
			t.Errorf("of %d bytes %d are read: %v", size, len(got), err)
		}
	}
	if err := writeControl(name, []byte("12")); err != nil {
		t.Fatal(err)
	}
	if got, err := readControl(name); err != nil || string(got) != "12" {
		t.Errorf("read as %q: %v", got, err)
	}
}

// Of what lies in the claim's directories only what is not the job's yet is touched: each change is one that the file
// system has to write down.
func TestTakeOverLeavesWhatIsRight(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	if !s.mapped {
		t.Skip("takes many ids")
	}
	i := open(t, s, "owners")
	writeScratch(t, i, "input", "")
	changed := func(path string) time.Time {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		if int(st.Uid) != i.initUID()+jobID || int(st.Gid) != i.initUID()+jobID {
			t.Errorf("%s is that of %d:%d", path, st.Uid, st.Gid)
		}
		return time.Unix(st.Ctim.Unix())
	}
	if err := i.takeOver(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{i.Scratch(), filepath.Join(i.Scratch(), "input")} {
		before := changed(path)
		// Until the clock of the file system has gone on.
		await(t, "a new file is newer", func() bool {
			writeScratch(t, i, TmpName+"/tick", "")
			fi, err := os.Stat(filepath.Join(i.Scratch(), TmpName, "tick"))
			return err == nil && fi.ModTime().After(before)
		})
		if err := i.takeOver(); err != nil {
			t.Fatal(err)
		}
		if !changed(path).Equal(before) {
			t.Errorf("the owner of %s is set anew", path)
		}
	}
}
