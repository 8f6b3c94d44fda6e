package qemutest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"skua/internal/child"
	"skua/internal/realpool"
)

// patience is how long a test waits for anything that happens on a virtual machine, which is slow.
const patience = 4 * time.Minute

// gateway is this machine's loopback address as seen from a virtual machine: QEMU's network of user mode.
const gateway = "10.0.2.2"

// kind is what a virtual machine is made of.
type kind struct {
	name   string // of the machine
	cpu    string // as QEMU calls it
	kernel string // "own" or "other", see scripts/setup-qemu
	root   string // the same
	start  string // the START expression of its policy
}

// lab is a pool of virtual machines.
type lab struct {
	*realpool.Pool
	t     *testing.T
	files string // what scripts/setup-qemu has made
	disk  string // what is brought to the machines: the agent, and the configuration of each
}

// newLab starts a matchmaker for machines of these kinds, none of which is there yet.
func newLab(t *testing.T, kinds ...kind) *lab {
	t.Helper()
	files := os.Getenv("SKUA_QEMU")
	p := realpool.Start(t, bin, realpool.Config{Lease: 60})
	l := &lab{Pool: p, t: t, files: files}
	_, port, _ := strings.Cut(p.Address(), ":")
	token := p.Admin("token", "agent", "--uses", fmt.Sprint(len(kinds)), "--url", "https://"+gateway+":"+port)
	init, err := os.ReadFile("testdata/init")
	if err != nil {
		t.Fatal(err)
	}
	p.Write("brought/init", string(init))
	agent, err := os.ReadFile(filepath.Join(bin, "skua-agent"))
	if err != nil {
		t.Fatal(err)
	}
	p.Write("brought/skua-agent", string(agent))
	for _, k := range kinds {
		p.Write("brought/"+k.name+".toml", fmt.Sprintf("name = %q\ntoken = %q\npolicy = %q\nowner = false\nlog = \"debug\"\n", k.name, token, k.name+"-policy.toml"))
		p.Write("brought/"+k.name+"-policy.toml", policy(p.Journal, k.start))
	}
	for _, name := range []string{"init", "skua-agent"} {
		if err := os.Chmod(filepath.Join(p.Dir, "brought", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.disk = filepath.Join(p.Dir, "brought.img")
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-d", filepath.Join(p.Dir, "brought"), l.disk, "128M").CombinedOutput(); err != nil {
		t.Fatalf("make the disk that is brought to the machines: %v\n%s", err, out)
	}
	return l
}

// boot starts a machine and waits until it is in the pool. By then it has tried what it can do, for which it has a
// minute: so they are not started all at a time.
func (l *lab) boot(k kind) {
	l.t.Helper()
	const memory = "512M"
	socket := filepath.Join(l.Dir, k.name+".fs")
	console := filepath.Join(l.Dir, k.name+".console")
	served := l.background(k.name+"-virtiofsd", virtiofsd(), "--socket-path="+socket, "-f", "-o", "source="+l.Journal, "-o", "cache=none", "-o", "sandbox=chroot")
	l.Await("the shared directory is served", func() bool {
		select {
		case <-served:
			l.t.Fatal("virtiofsd has ended")
		default:
		}
		return realpool.Exists(socket)
	})
	ended := l.background(k.name, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-cpu", k.cpu, "-smp", "1", "-m", memory,
		"-object", "memory-backend-memfd,id=memory,size="+memory+",share=on", "-machine", "pc,memory-backend=memory",
		"-kernel", filepath.Join(l.files, k.kernel+".vmlinuz"), "-initrd", filepath.Join(l.files, k.kernel+".initrd"),
		// Where this machine is busy the timer may come too late for the kernel, which then gives up.
		"-append", fmt.Sprintf("console=ttyS0 panic=-1 no_timer_check machine=%s journal=%s", k.name, l.Journal),
		"-serial", "file:"+console,
		"-drive", "file="+filepath.Join(l.files, k.root+".img")+",format=raw,if=virtio,snapshot=on,cache=unsafe",
		"-drive", "file="+l.disk+",format=raw,if=virtio,readonly=on",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-chardev", "socket,id=fs,path="+socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=journal",
	)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("console of %s:\n%s", k.name, tail(l.Read(k.name+".console"), 30))
			l.t.Logf("log of %s:\n%s", k.name, tail(l.log(k.name), 60))
		}
	})
	l.AwaitFor(patience, k.name+" is in the pool", func() bool {
		select {
		case <-ended:
			l.t.Fatalf("%s has ended", k.name)
		default:
		}
		can := l.attribute(k.name, "HasCheckpointing")
		if can == "false" {
			l.t.Fatalf("jobs cannot be checkpointed on %s, as its log says", k.name)
		}
		return can == "true"
	})
}

// virtiofsd is the program that shows a directory to a virtual machine.
func virtiofsd() string {
	for _, path := range []string{"/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"} {
		if realpool.Exists(path) {
			return path
		}
	}
	return "virtiofsd"
}

// background starts a program that is killed at the end of the test, or with it.
func (l *lab) background(name, program string, args ...string) (ended <-chan struct{}) {
	l.t.Helper()
	out, err := os.Create(filepath.Join(l.Dir, name+".said"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ended, err = child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		l.t.Fatalf("start %s: %v", program, err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if said := l.Read(name + ".said"); said != "" && l.t.Failed() {
			l.t.Logf("%s says:\n%s", name, tail(said, 20))
		}
	})
	return ended
}

// log is what a machine's agent has said.
func (l *lab) log(machine string) string {
	data, err := os.ReadFile(filepath.Join(l.Journal, machine+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return string(data)
}

// attribute gives what a machine says of itself, "" if it is not in the pool.
func (l *lab) attribute(machine, name string) string {
	l.t.Helper()
	return strings.TrimSpace(l.Must("skua", "status", "--constraint", fmt.Sprintf("Machine == %q", machine), "-af", name))
}

func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
