package qemutest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// TestIdle is no test but a measurement: of what an agent without a job costs on a processor that executes a thousand
// million instructions a second, each in the same time, and that no other machine shares. realpool's test of that name
// measures it, as it does on this machine; there the processor time of a program that hardly runs is mostly what the
// hypervisor takes to bring it back. It runs where $SKUA_DESK_IDLE says how long the agent is watched.
func TestIdle(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv("SKUA_DESK_IDLE"))
	if err != nil || os.Getenv("SKUA_QEMU") == "" {
		t.Skip("SKUA_DESK_IDLE does not say how long to watch an idle agent, or SKUA_QEMU names nothing to boot")
	}
	l := &lab{Pool: realpool.New(t, bin), t: t, files: os.Getenv("SKUA_QEMU")}
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(bin, "realpool.test"), "skua/internal/realpool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the measurement: %v\n%s", err, out)
	}
	for from, to := range map[string]string{"desk-init": "init", "desk-measure": "measure"} {
		text, err := os.ReadFile(filepath.Join("testdata", from))
		if err != nil {
			t.Fatal(err)
		}
		l.Write("desk/"+to, string(text))
		if err := os.Chmod(filepath.Join(l.Dir, "desk", to), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const oneNanosecond = "shift=0" // for an instruction
	off := l.start(machine{
		name: "desk", kernel: "own", root: "own", disk: l.bring("desk"), memory: "2G",
		append: fmt.Sprintf("programs=%s watch=%s", bin, long),
		share:  share{tag: "host", source: "/", cache: "always"},
		more:   []string{"-cpu", "max", "-icount", oneNanosecond},
	})
	// It is slow while it has something to do: the start, and the measurement of its speed.
	select {
	case <-off:
	case <-time.After(long + 40*time.Minute):
		t.Fatal("the virtual machine does not come to an end")
	}
	console := strings.ReplaceAll(l.Read("desk.console"), "\r", "")
	if !strings.Contains(console, "\nidle: ") {
		t.Fatal("nothing was measured")
	}
	for line := range strings.Lines(console) {
		if name, ok := strings.CutPrefix(line, "bench: idle_"); ok {
			fmt.Print("bench: idle_counted_", name)
		}
		if figures, ok := strings.CutPrefix(line, "idle: "); ok {
			fmt.Print("counted: ", figures)
		}
	}
}
