package starter

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// traffic is what has gone to and from disks and the network, in bytes, since some beginning.
type traffic struct {
	read, written int64 // of disks, by the processes themselves
	in, out       int64 // of the claim's network, if it has one to itself
}

func (t *traffic) add(u traffic) {
	t.read, t.written, t.in, t.out = t.read+u.read, t.written+u.written, t.in+u.in, t.out+u.out
}

func (t traffic) minus(u traffic) traffic {
	return traffic{t.read - u.read, t.written - u.written, t.in - u.in, t.out - u.out}
}

// since is the usage between an earlier count and this one.
func (t traffic) since(base traffic) Usage {
	d := t.minus(base)
	return Usage{Read: max(0, d.read), Written: max(0, d.written), NetIn: max(0, d.in), NetOut: max(0, d.out)}
}

// traffic counts what all processes here have done so far. What the ended ones did is counted with the init,
// which has waited for them, and so is what the init and CRIU do; of that the init does next to nothing.
func (p *pid1) traffic() traffic {
	t := p.pastTraffic()
	for _, pid := range pids() {
		if pid != 1 {
			t.add(readIO(fmt.Sprintf("/proc/%d/io", pid)))
		}
	}
	return t
}

// pastTraffic is traffic while no job runs: there is nobody but the init.
func (p *pid1) pastTraffic() traffic {
	t := ownIO()
	if p.cfg.Network == NetOutbound { // else it has loopback alone, or the machine's
		if text, err := readControl("/proc/self/net/dev"); err == nil {
			t.in, t.out = parseNetDev(string(text))
		}
	}
	return t
}

// ownIO is what the init and its ended children have done.
func ownIO() traffic { return readIO("/proc/self/io") }

func readIO(path string) traffic {
	b, err := readControl(path)
	if err != nil {
		return traffic{} // a process that has just ended, or a kernel that does not count
	}
	return parseIO(b)
}

// parseIO reads proc_pid_io(5). What was written and removed before it reached the disk is not counted.
func parseIO(text []byte) (t traffic) {
	var cancelled int64
	for line := range bytes.Lines(text) {
		name, v, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil || n < 0 {
			continue
		}
		switch string(name) {
		case "read_bytes":
			t.read = n
		case "write_bytes":
			t.written = n
		case "cancelled_write_bytes":
			cancelled = n
		}
	}
	t.written = max(0, t.written-cancelled)
	return t
}

// parseNetDev reads /proc/net/dev: the bytes that came and went by all interfaces but the loopback.
func parseNetDev(text string) (in, out int64) {
	for line := range strings.Lines(text) {
		name, counts, ok := strings.Cut(line, ":")
		f := strings.Fields(counts)
		if !ok || strings.TrimSpace(name) == "lo" || len(f) < 9 {
			continue
		}
		a, err1 := strconv.ParseInt(f[0], 10, 64)
		b, err2 := strconv.ParseInt(f[8], 10, 64)
		if err1 == nil && err2 == nil && a >= 0 && b >= 0 {
			in, out = in+a, out+b
		}
	}
	return in, out
}
