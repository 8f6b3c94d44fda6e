package starter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// whyNot says why the kernel could not execute the file at path, as far as its beginning tells; "" if that tells nothing.
func (p *pid1) whyNot(path string, err error) string {
	if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENOEXEC) {
		return ""
	}
	head, readErr := p.head(path)
	if readErr != nil {
		return ""
	}
	return unstartable(head, errors.Is(err, syscall.ENOENT))
}

// unstartable says why a file that begins so cannot be executed. missing says that something else was not there for it.
func unstartable(head []byte, missing bool) string {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	names, script := bytes.CutPrefix(line, []byte("#!"))
	fields := strings.Fields(strings.ToValidUTF8(string(names), ""))
	switch {
	case script && bytes.HasSuffix(line, []byte("\r")):
		return "it was saved with Windows line ends"
	case script && missing && len(fields) > 0:
		return fmt.Sprintf("its first line names %s, which this machine does not have", fields[0])
	case script:
		return "its first line names no program that could run it"
	case bytes.HasPrefix(head, []byte("\x7fELF")) && missing:
		return "it was built for a system whose loader this machine does not have"
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return "it was built for another kind of machine"
	}
	return "it is neither a program for Linux nor a script that begins with #!"
}

// head reads the beginning of a plain file as a job finds it.
func (p *pid1) head(path string) ([]byte, error) {
	root := "/"
	if p.cfg.hasRuntime() {
		root = runtimePath
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f, err := plainFile(fd, path, nil)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 256 // as the kernel looks at
	return io.ReadAll(io.LimitReader(f, most))
}
