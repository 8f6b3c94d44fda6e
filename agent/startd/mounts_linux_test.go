package startd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where a file system is not mounted, the directory in its place is not taken for it.
func TestMounted(t *testing.T) {
	const fstab = `# <file system> <mount point> <type> <options>
UUID=1 /         ext4 errors=remount-ro 0 1
UUID=2 none      swap sw 0 0
UUID=3 /srv      ext4 defaults 0 2
nas:/data  /srv/data/ nfs4 defaults,_netdev 0 0
nas:/later /srv/later nfs4 noauto,x-systemd.automount 0 0
nas:/hand  /mnt/by\040hand nfs4 noauto 0 0
nas:/home  /home nfs4 defaults 0 0
/srv/local /exports/local none bind 0 0
`
	links := map[string]string{"/home": "/export/home", "/data": "/srv/data/all"}
	resolve := func(path string) (string, error) {
		for from, to := range links {
			if holds(from, path) {
				return to + strings.TrimPrefix(path, from), nil
			}
		}
		return path, nil
	}
	const root, srv, data = "/ ext4", "/srv ext4", "/srv/data nfs4"
	for _, tt := range []struct {
		name, dir string
		mounts    []string
		want      bool
	}{
		{"a mount point", "/srv/data", []string{root, srv, data}, true},
		{"that nothing is mounted on", "/srv/data", []string{root, srv}, false},
		{"below a mount point", "/srv/data/lab", []string{root, srv, data}, true},
		{"below one that nothing is mounted on", "/srv/data/lab", []string{root, srv}, false},
		{"beside one", "/srv/database", []string{root, srv}, true},
		{"of the file system around it", "/srv/lab", []string{root, srv}, true},
		{"which is not mounted", "/srv/lab", []string{root}, false},
		{"on a file system of its own, which fstab does not know", "/srv/lab", []string{root, "/srv/lab fuse.sshfs"}, true},
		{"a part of the root", "/opt/lab", []string{root}, true},
		{"mounted when it is wanted", "/srv/later", []string{root, srv, "/srv/later autofs", "/srv/later nfs4"}, true},
		{"but could not be", "/srv/later", []string{root, srv, "/srv/later autofs"}, false},
		{"mounted by hand", "/mnt/by hand", []string{root, `/mnt/by\040hand nfs4`}, true},
		{"and not yet", "/mnt/by hand", []string{root}, false},
		{"through a link", "/home/lab", []string{root, "/export/home nfs4"}, true},
		{"through a link to nothing mounted", "/home/lab", []string{root}, false},
		{"a link into a mount", "/data/lab", []string{root, data}, true},
		{"a link into what is not mounted", "/data/lab", []string{root, srv}, false},
		{"part of another directory", "/exports/local", []string{root, srv, "/exports/local ext4"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mountinfo strings.Builder
			for _, m := range tt.mounts {
				at, kind, _ := strings.Cut(m, " ")
				mountinfo.WriteString("36 35 98:0 / " + at + " rw,noatime shared:1 - " + kind + " /dev/of-no-interest rw\n")
			}
			if got := mounted(tt.dir, fstab, mountinfo.String(), resolve); got != tt.want {
				t.Errorf("with %v mounted, %s is there: %v, want %v", tt.mounts, tt.dir, got, tt.want)
			}
		})
	}
}

// What this machine has is there.
func TestIsThere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"": true, "link": true, "file": false, "none": false} {
		if got := isThere(filepath.Join(dir, name)); got != want {
			t.Errorf("%q is there: %v, want %v", name, got, want)
		}
	}
}

// A directory that does not let the agent in is there all the same.
func TestReachedWithoutBeingLetIn(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	var looked []string
	stat := func(path string) (fs.FileInfo, error) {
		looked = append(looked, path)
		if strings.HasSuffix(path, "/.") {
			return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrPermission}
		}
		return os.Stat(path)
	}
	for name, want := range map[string]bool{"": true, "file": false, "none": false} {
		looked = nil
		if got := reached(filepath.Join(dir, name), stat); got != want || !strings.HasSuffix(looked[0], "/.") {
			t.Errorf("%q is reached: %v, want %v; looked at %v", name, got, want, looked)
		}
	}
}
