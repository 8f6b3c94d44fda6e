//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// disk is a small file system for one directory of a machine. It is mounted in a mount namespace of its own, in which the
// machine's programs run, so that nobody else sees it; a process that only waits keeps it.
type disk struct {
	dir    string
	keeper *exec.Cmd
	ended  chan struct{}
}

// newDisk makes a disk of so many bytes at a directory, which it makes.
func newDisk(ctx context.Context, dir string, bytes int64) (*disk, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	script := fmt.Sprintf("mount -t tmpfs -o size=%d,mode=0755 none %s && echo ready && exec sleep infinity", bytes, dir)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script) // ended by close
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &disk{dir: dir, keeper: cmd, ended: make(chan struct{})}
	ready, err := bufio.NewReader(io.LimitReader(out, 16)).ReadString('\n')
	go func() {
		_ = cmd.Wait() // it is killed
		close(d.ended)
	}()
	if ready != "ready\n" {
		d.close()
		return nil, fmt.Errorf("mount a disk at %s: %w", dir, err)
	}
	return d, nil
}

// enter gives the options with which nsenter comes to where the disk is seen.
func (d *disk) enter() []string {
	return []string{"--mount=/proc/" + strconv.Itoa(d.keeper.Process.Pid) + "/ns/mnt"}
}

// path is where this program finds a file of the disk's directory.
func (d *disk) path(elem ...string) string {
	return filepath.Join("/proc", strconv.Itoa(d.keeper.Process.Pid), "root", d.dir, filepath.Join(elem...))
}

func (d *disk) close() {
	_ = d.keeper.Process.Kill() // it may have ended
	<-d.ended
}

const filler = "filler"

// fill leaves no room.
func (d *disk) fill() error {
	f, err := os.Create(d.path(filler))
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for len(buf) > 0 {
		if _, err = f.Write(buf); err != nil {
			buf = buf[:len(buf)/2] // up to the last byte
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func (d *disk) free() error { return os.Remove(d.path(filler)) }

// files lists the files below a directory of the disk whose names match a pattern.
func (d *disk) files(dir, pattern string) []string {
	var found []string
	// What cannot be read has been removed meanwhile.
	_ = filepath.WalkDir(d.path(dir), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if ok, _ := filepath.Match(pattern, e.Name()); ok && e.Type().IsRegular() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// tear appends what an unfinished write leaves behind: some bytes, of the file's own beginning or zeros.
func tear(path string, r *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	torn := make([]byte, 1+r.IntN(200))
	if r.IntN(2) == 0 {
		if _, err := f.ReadAt(torn, 0); err != nil && err != io.EOF {
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = f.WriteAt(torn, info.Size())
	return err
}

// flip changes a byte in the middle of a file, or cuts it there.
func flip(path string, r *rand.Rand) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return err
	}
	at := r.Int64N(info.Size())
	if r.IntN(4) == 0 {
		return os.Truncate(path, at)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << r.IntN(8)
	_, err = f.WriteAt(b[:], at)
	return err
}

// copyTree copies what is on the disk, for people.
func (d *disk) copyTree(to string) error {
	out, err := exec.Command("cp", "-a", d.path(), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", d.dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}
