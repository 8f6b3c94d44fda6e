package starter

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A job with the network "outbound" dials out from a network namespace of its own. What it sends there is
// carried out into the machine's by pasta (Debian's package passt), a program without privileges once it runs,
// one for each claim. It is in a cgroup of its own and ends with that, when the claim is removed: nothing
// else would end it for certain.

// pastaName is that program.
const pastaName = "pasta"

// nameServer is where jobs find one, whatever the machine's own resolver listens to: pasta passes on what is
// sent there. It is an address that no network routes.
const nameServer = "169.254.1.53"

// outboundLimit is how long pasta may take to set the network up.
const outboundLimit = 10 * time.Second

// outboundSuffix is what the name of pasta's cgroup has after the claim's.
const outboundSuffix = ".net"

// findOutbound returns pasta's path, or why there cannot be a network for dialling out.
func (s *Starter) findOutbound() (string, error) {
	path, err := exec.LookPath(pastaName)
	switch {
	case err != nil:
		return "", errors.New("there is no pasta (package passt)")
	case s.cgroups == nil:
		return "", errors.New("there is no cgroup v2 in which pasta could be kept")
	}
	return filepath.Abs(path)
}

// dialOut gives the network namespace of an init its way out, and returns when that is open.
func (s *Starter) dialOut(ctx context.Context, cgroup string, pidfd int) error {
	path, err := s.findOutbound()
	if err != nil {
		return err
	}
	pid, err := pidOf(pidfd)
	if err != nil {
		return err
	}
	if err := mkdir(cgroup, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	ctx, cancel := context.WithTimeout(ctx, outboundLimit)
	defer cancel()
	args := []string{
		"--config-net", "--no-map-gw", "--dns-forward", nameServer,
		"-t", "none", "-u", "none", "-T", "none", "-U", "none", // nothing comes in, and no loopback leads to the other
		"-q",
	}
	if os.Getuid() == 0 {
		args = append(args, "--runas", "0:0") // another could not enter the claim's namespaces; there it is nobody
	}
	cmd := exec.CommandContext(ctx, path, append(args, strconv.Itoa(pid))...)
	cmd.Env = []string{"PATH=" + jobPath}
	cmd.Dir = "/"
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = nil, &limitedWriter{&said, 4096}
	cmd.WaitDelay = time.Second // what goes on in the background may hold the pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w: %s", pastaName, err, lastWords(said.String()))
	}
	return nil
}

// lastWords is the last line that a program has written which is about itself.
func lastWords(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "syslog") {
			last = line
		}
	}
	return last
}

// limitedWriter keeps the first bytes.
type limitedWriter struct {
	b    *bytes.Buffer
	left int
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.b.Write(p[:n])
	w.left -= n
	return len(p), nil
}

// pidOf is the process behind a pidfd.
func pidOf(pidfd int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			if pid, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && pid > 0 {
				return pid, nil
			}
		}
	}
	return 0, unix.ESRCH
}

// farConnections refuses a job that is connected to other machines: the connections could not go along, and
// an image of it could not be restored.
func farConnections() error {
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if n := parseFar(string(text)); n > 0 {
			return fmt.Errorf("the job has %d connections to other machines, so it cannot be checkpointed", n)
		}
	}
	return nil
}

// parseFar reads /proc/net/tcp or tcp6: how many connections somebody holds that do not end in the machine.
func parseFar(text string) (n int) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		state, err := strconv.ParseUint(f[3], 16, 8)
		if err != nil {
			continue
		}
		const timeWait, closed, listen = 0x06, 0x07, 0x0a
		if state == timeWait || state == closed || state == listen {
			continue
		}
		address, _, ok := strings.Cut(f[2], ":")
		if b, err := hex.DecodeString(address); ok && err == nil && !near(b) {
			n++
		}
	}
	return n
}

// near says whether an address, as the kernel writes it in words of the machine's order (little-endian), is
// the loopback's or none.
func near(b []byte) bool {
	for i := 0; i+4 <= len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	zero := func(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
	switch {
	case len(b) == 4:
		return b[0] == 127 || zero(b)
	case len(b) != 16:
		return true // not an address
	case zero(b[:15]):
		return b[15] <= 1
	case zero(b[:10]) && b[10] == 0xff && b[11] == 0xff:
		return b[12] == 127 || zero(b[12:])
	}
	return false
}
