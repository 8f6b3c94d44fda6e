package systemdtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skua/internal/child"
)

// patience is how long a test waits for anything that should happen soon.
const patience = 2 * time.Minute

// machine is a booted container.
type machine struct {
	t      *testing.T
	dir    string // its root directory
	leader int    // its first process, as seen from here
}

// boot starts a machine from a copy of the root that was made for it, and waits until it is up.
func boot(t *testing.T) *machine {
	t.Helper()
	root := os.Getenv("SKUA_SYSTEMD")
	if root == "" {
		t.Skip("SKUA_SYSTEMD names no root directory that systemd can boot; make test-systemd makes one")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can boot a container")
	}
	dir, err := os.MkdirTemp(filepath.Dir(root), "run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the machine: %v", err)
		}
	})
	if out, err := exec.Command("cp", "-a", "--reflink=auto", root+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the root: %v\n%s", err, out)
	}
	m := &machine{t: t, dir: dir}
	m.start()
	m.await("the machine is up", func() bool {
		out, _, _ := m.try("systemctl is-system-running")
		switch state := strings.TrimSpace(out); state {
		case "running":
			return true
		case "degraded", "maintenance":
			failed, _, _ := m.try("systemctl --failed --no-pager; journalctl -b -p warning --no-pager")
			t.Fatalf("the machine is %s:\n%s", state, failed)
		}
		return false
	})
	t.Cleanup(func() {
		if t.Failed() {
			said, _, _ := m.try("journalctl -b --no-pager -o short-monotonic | grep -v -e sudo -e 'runuser\\[' | tail -n 150")
			t.Logf("the machine's journal:\n%s", said)
		}
	})
	// Parts of the container's /proc are covered. A sandbox, which mounts one of its own, is only allowed to
	// where a whole one can be seen, as on any real machine.
	m.must("mkdir -m 755 /run/whole-proc && mount -t proc proc /run/whole-proc")
	return m
}

// start starts the container. It is shut down at the end of the test.
func (m *machine) start() {
	m.t.Helper()
	args := []string{
		"--directory=" + m.dir, "--machine=" + filepath.Base(m.dir), "--boot", "--private-network",
		"--register=no", "--link-journal=no",
	}
	if st, err := os.Stat("/opt/skua/criu"); err == nil && st.IsDir() {
		args = append(args, "--bind-ro=/opt/skua/criu") // the one that install-criu chose for this kernel
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		// There is no systemd here that could give the container a cgroup.
		args = append(args, "--keep-unit")
		attr.UseCgroupFD, attr.CgroupFD = true, m.cgroup()
	}
	cmd := exec.Command("systemd-nspawn", append(args, "systemd.show_status=no")...) // the last is for systemd itself
	// A whole cgroup v2, and no system call filter around the container, with which CRIU could do nothing.
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_SECCOMP=0")
	cmd.SysProcAttr = attr
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said

	ended, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		m.t.Fatalf("start the container: %v", err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // an orderly shutdown, unless it has ended
		select {
		case <-ended:
		case <-time.After(patience):
			_ = syscall.Kill(m.leader, syscall.SIGKILL)
			_ = cmd.Process.Kill()
			<-ended
			m.t.Error("the machine did not shut down")
		}
		if m.t.Failed() {
			m.t.Logf("the machine's console:\n%s", said.String())
		}
	})
	m.await("the machine has a first process", func() bool {
		select {
		case <-ended:
			m.t.Fatal("the container has ended")
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid))
		for _, pid := range strings.Fields(string(children)) {
			if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil && string(name) == "systemd\n" {
				m.leader, err = strconv.Atoi(pid)
				return err == nil
			}
		}
		return false
	})
}

// cgroup makes a cgroup for the container and opens it.
func (m *machine) cgroup() (fd int) {
	m.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		path := filepath.Join(f[1], "skua-"+filepath.Base(m.dir))
		if err := os.Mkdir(path, 0o755); err != nil {
			m.t.Fatal(err)
		}
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() {
			_ = syscall.Close(fd)
			removeCgroup(path)
		})
		return fd
	}
	m.t.Skip("there is no cgroup v2 hierarchy to boot systemd in")
	return -1
}

// removeCgroup removes a cgroup with those below it, in which nothing runs any more.
func removeCgroup(path string) {
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(path, e.Name()))
		}
	}
	_ = os.Remove(path) // what cannot be removed is in nobody's way
}

// path is where a file of the machine is to be found from here, mounts included.
func (m *machine) path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", m.leader), name)
}

// read gives the content of a file on the machine, "" when there is none.
func (m *machine) read(name string) string {
	data, _ := os.ReadFile(m.path(name))
	return string(data)
}

// write writes a file on the machine.
func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	path := m.path(name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode))
	if err != nil {
		m.t.Fatal(err)
	}
}

// run runs a shell's command on the machine, with the words before it, which say as whom.
func (m *machine) run(as []string, script string) (stdout, stderr string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	args := append([]string{"--target", strconv.Itoa(m.leader), "--all", "--"}, as...)
	cmd := exec.CommandContext(ctx, "nsenter", append(args, "sh", "-c", script)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	cmd.WaitDelay = time.Second // a courier may have kept the output open
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
		m.t.Fatalf("%s: %v", script, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// try runs a command as root.
func (m *machine) try(script string) (stdout, stderr string, code int) {
	m.t.Helper()
	return m.run(nil, script)
}

// must runs a command as root that must succeed, and gives what it said without the last newline.
func (m *machine) must(script string) string {
	m.t.Helper()
	return m.succeed(nil, script)
}

// as runs a command as a user that must succeed.
func (m *machine) as(user, script string) string {
	m.t.Helper()
	return m.succeed([]string{"runuser", "-u", user, "--", "env", "HOME=/home/" + user}, script)
}

func (m *machine) succeed(as []string, script string) string {
	m.t.Helper()
	out, errs, code := m.run(as, script)
	if code != 0 {
		m.t.Fatalf("%s: exit %d\n%s%s", script, code, out, errs)
	}
	return strings.TrimSuffix(out, "\n")
}

// await looks until ok holds, and fails the test when it does not in time.
func (m *machine) await(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}
