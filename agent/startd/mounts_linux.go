package startd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// isThere reports whether a shared directory is there, with the file system that belongs there: where that is not mounted,
// there mostly is a directory all the same, empty and this machine's own.
func isThere(dir string) bool {
	if !reached(dir, os.Stat) {
		return false
	}
	fstab, err := os.ReadFile("/etc/fstab")
	if err != nil {
		return true
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	return mounted(dir, string(fstab), string(mountinfo), filepath.EvalSymlinks)
}

// reached reports whether a directory is there, and looks into it, by which it is mounted where that is done when it is wanted.
// The agent need not be let in: to a server that squashes root it is nobody.
func reached(dir string, stat func(string) (fs.FileInfo, error)) bool {
	fi, err := stat(dir + "/.")
	if errors.Is(err, fs.ErrPermission) {
		fi, err = stat(dir)
	}
	return err == nil && fi.IsDir()
}

// mounted reports whether the file system is mounted that has the directory according to fstab, or one in it that has the
// directory, too. Whether it is to be mounted when the machine starts does not matter. What fstab does not know counts as
// mounted.
func mounted(dir, fstab, mountinfo string, resolve func(string) (string, error)) bool {
	place, err := resolve(dir)
	if err != nil {
		return false
	}
	var point string
	for line := range strings.Lines(fstab) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		p := filepath.Clean(unescape(fields[1]))
		if holds(p, dir) || holds(p, place) {
			if len(p) > len(point) {
				point = p
			}
		}
	}
	if point == "" {
		return true
	}
	if point, err = resolve(point); err != nil {
		return false
	}
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || strings.HasPrefix(after, "autofs ") { // which stands for what is mounted when it is wanted
			continue
		}
		at := unescape(fields[4])
		if at == point || holds(point, at) && holds(at, place) {
			return true
		}
	}
	return false
}

// holds reports whether a path is a directory or in it.
func holds(dir, path string) bool { return lies(path, []string{dir}) }

// unescape reads a path as it stands in fstab and in mountinfo: with \040 for a space.
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if c, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}
