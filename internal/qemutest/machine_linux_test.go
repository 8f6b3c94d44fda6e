package qemutest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"skua/internal/child"
	"skua/internal/realpool"
)

// machine is a virtual machine.
type machine struct {
	name   string
	kernel string // "own" or "other", see scripts/setup-qemu
	root   string // the same
	disk   string // whose /init is what it does
	memory string // as QEMU writes it
	append string // to the kernel's command line
	share  share
	more   []string // arguments for QEMU
}

// share is a directory of this machine's that a virtual machine can mount.
type share struct {
	tag    string // what it mounts
	source string
	cache  string // as virtiofsd calls it
}

// bring makes a disk of a directory below the pool's.
func (l *lab) bring(dir string) string {
	l.t.Helper()
	disk := filepath.Join(l.Dir, dir+".img")
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-d", filepath.Join(l.Dir, dir), disk, "128M").CombinedOutput(); err != nil {
		l.t.Fatalf("make the disk that is brought to the machines: %v\n%s", err, out)
	}
	return disk
}

// start switches a machine on, and gives a channel that is closed when it is off again. What it writes to its
// console is in the pool's directory, in NAME.console.
func (l *lab) start(m machine) (off <-chan struct{}) {
	l.t.Helper()
	socket := filepath.Join(l.Dir, m.name+".fs")
	served := l.background(m.name+"-virtiofsd", virtiofsd(), "--socket-path="+socket, "-f",
		"-o", "source="+m.share.source, "-o", "cache="+m.share.cache, "-o", "sandbox=chroot")
	l.Await("the shared directory is served", func() bool {
		select {
		case <-served:
			l.t.Fatal("virtiofsd has ended")
		default:
		}
		return realpool.Exists(socket)
	})
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-smp", "1", "-m", m.memory,
		"-object", "memory-backend-memfd,id=memory,size=" + m.memory + ",share=on", "-machine", "pc,memory-backend=memory",
		"-kernel", filepath.Join(l.files, m.kernel+".vmlinuz"), "-initrd", filepath.Join(l.files, m.kernel+".initrd"),
		// Where this machine is busy the timer may come too late for the kernel, which then gives up.
		"-append", "console=ttyS0 panic=-1 no_timer_check " + m.append,
		"-serial", "file:" + filepath.Join(l.Dir, m.name+".console"),
		"-drive", "file=" + filepath.Join(l.files, m.root+".img") + ",format=raw,if=virtio,snapshot=on,cache=unsafe",
		"-drive", "file=" + m.disk + ",format=raw,if=virtio,readonly=on",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-chardev", "socket,id=fs,path=" + socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=" + m.share.tag,
	}
	off = l.background(m.name, "qemu-system-x86_64", append(args, m.more...)...)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("console of %s:\n%s", m.name, tail(l.Read(m.name+".console"), 60))
		}
	})
	return off
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
