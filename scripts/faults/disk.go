//go:build linux

package main

import (
	"bufio"
	"bytes"
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
	"time"
)

// disk is a small file system for one directory of a machine. It is mounted in a mount namespace of its own, in which the
// machine's programs run, so that nobody else sees it; a process that only waits keeps it. A faulty disk is seen
// through a file system of that process, which can fail.
type disk struct {
	dir    string
	keeper *exec.Cmd
	ended  chan struct{}

	orders  io.Writer // to the keeper of a faulty disk, each of which it answers with a line
	answers *bufio.Reader
}

// newDisk makes a disk of a size in bytes at a directory, which it makes.
func newDisk(dir string, size int64, faulty bool) (*disk, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	script := fmt.Sprintf("mount -t tmpfs -o size=%d,mode=0755 none %s && echo ready && exec sleep infinity", size, dir)
	if faulty {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		backing := dir + ".backing"
		if err := os.Mkdir(backing, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		script = fmt.Sprintf("mount -t tmpfs -o size=%d,mode=0755 none %s && exec %s %s %s %s",
			size, backing, self, keeperCommand, backing, dir)
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script) // ended by close
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &disk{dir: dir, keeper: cmd, ended: make(chan struct{}), orders: orders, answers: bufio.NewReader(out)}
	ready, err := d.answers.ReadString('\n')
	go func() {
		_, _ = cmd.Process.Wait() // it is killed; not cmd.Wait, which would close what is read from
		close(d.ended)
	}()
	if ready != "ready\n" {
		d.close()
		return nil, fmt.Errorf("mount a disk at %s: %w", dir, err)
	}
	return d, nil
}

// fail has a faulty disk fail from now on, in one of the modes.
func (d *disk) fail(mode string) error {
	if _, err := io.WriteString(d.orders, mode+"\n"); err != nil {
		return err
	}
	_, err := d.answers.ReadString('\n')
	return err
}

// mend ends that.
func (d *disk) mend() error { return d.fail(modeGood) }

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
	var size int64
	for step := int64(64 << 20); step >= 4096; {
		err = syscall.Fallocate(int(f.Fd()), 0, size, step)
		if err == nil {
			size += step
		} else {
			step /= 2
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

// tear appends what an unfinished write leaves behind: the beginning of a record, such as the file's first one, or zeros.
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
		if end := bytes.IndexByte(torn, '\n'); end > 0 {
			torn = torn[:end] // half a record, not a whole one that is wrong
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

// newest gives the file that was changed last; "" if there is none.
func newest(paths []string) (last string) {
	var at time.Time
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(at) {
			last, at = path, info.ModTime()
		}
	}
	return last
}

// halve cuts a file in its middle.
func halve(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/2)
}

// copyTree copies what is on the disk, for people.
func (d *disk) copyTree(to string) error {
	out, err := exec.Command("cp", "-a", d.path(), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", d.dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}
