package starter

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

func TestCgroupBases(t *testing.T) {
	const unit = "/cg/skua.slice/skua-jobs.service/skua"
	for _, tt := range []struct {
		name, configured, own string
		want                  []string
	}{
		{"none", "none", "/system.slice/skua-agent.service/agent", nil},
		{"the administrator's", "/cg/jobs", "/system.slice/skua-agent.service/agent", []string{"/cg/jobs"}},
		{"a service with a part for the agent", "", "/system.slice/skua-agent.service/agent", []string{unit, "/cg/system.slice/skua-agent.service/skua"}},
		{"a service without", "", "/system.slice/skua-agent.service", []string{unit, "/cg/system.slice/skua-agent.service/skua"}},
		{
			"systemd in a container", "", "/system.slice/box.service/system.slice/skua-agent.service/agent",
			[]string{"/cg/system.slice/box.service" + unit[len("/cg"):], "/cg/system.slice/box.service/system.slice/skua-agent.service/skua"},
		},
		{"a user's service", "", "/user.slice/user-7.slice/user@7.service/app.slice/skua-agent.service/agent", []string{"/cg/user.slice/user-7.slice/user@7.service/app.slice/skua-agent.service/skua"}},
		{"by hand", "", "/user.slice/session-2.scope", []string{"/cg/user.slice/session-2.scope/skua"}},
		{"within somebody's service", "", "/system.slice/ssh.service/of/agent", []string{"/cg/system.slice/ssh.service/of/agent/skua"}},
		{"no systemd", "", "/", []string{"/cg/skua"}},
		{"called like the agent's part", "", "/home/agent", []string{"/cg/home/agent/skua"}},
		{"the same at the root", "", "/agent", []string{"/cg/agent/skua"}},
		{"no cgroup v2", "", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := cgroupBases(tt.configured, "/cg", tt.own); !slices.Equal(got, tt.want) {
				t.Errorf("the bases are %q, want %q", got, tt.want)
			}
		})
	}
	if got := cgroupBases("", "", "/system.slice/skua-agent.service"); got != nil {
		t.Errorf("without a hierarchy the bases are %q", got)
	}
}

// Jobs go where the unit for them is, as long as it is there, and beside the agent else. Each stays where it began.
func TestUnitForJobs(t *testing.T) {
	capable(t)
	if os.Getuid() != 0 {
		t.Skip("only root can stand in for systemd")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	mount := cgroup2Mount(mounts)
	if mount == "" {
		t.Skip("there is no cgroup v2")
	}
	top := fmt.Sprintf("/skua-units-%d", os.Getpid())
	service, unit := filepath.Join(mount, top, "system.slice/skua-agent.service"), filepath.Join(mount, top+jobsCgroup)
	s := newStarter(t, nil)
	t.Cleanup(func() {
		removeCgroups(t, filepath.Join(mount, top))
	})
	for _, dir := range []string{top, top + "/system.slice", top + "/system.slice/skua-agent.service", top + "/skua.slice"} {
		if err := os.Mkdir(filepath.Join(mount, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.cgroups = cgroupBases("", mount, top+"/system.slice/skua-agent.service/agent")
	s.legacy = nil
	isIn := func(want string, prompt bool, pids ...int) {
		t.Helper()
		if got := s.baseFor(prompt); got != filepath.Join(want, baseName) {
			t.Errorf("claims get their cgroups in %s, want %s", got, want)
		}
		for _, pid := range pids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if err != nil {
				t.Fatal(err)
			}
			if got := filepath.Join(mount, cgroup2Path(b)); !strings.HasPrefix(got, want+"/") {
				t.Errorf("process %d is in %s, want it below %s", pid, got, want)
			}
		}
	}
	begin := func(claim job.ClaimID) (*Init, int) {
		t.Helper()
		i, err := s.Open(t.Context(), ClaimSpec{Claim: claim, Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { i.Close(); _ = s.Remove(claim) })
		runShell(t, i, "while :; do echo tick; sleep 0.002; done")
		grows(t, i, "out")
		return i, jobPids(t, initPid(t, i))[0]
	}
	if !prepareBase(s.cgroups[1]) || prepareBase(s.cgroups[0]) {
		t.Fatal("what can be used is not the service's cgroup alone")
	}
	_, early := begin("early")
	isIn(service, false, early)

	// The unit is started. Its process is where systemd before 254 leaves it.
	keeper := exec.Command("sleep", "1000")
	startIn := func() {
		t.Helper()
		if err := os.MkdirAll(unit, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(unit, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		keeper = exec.Command("sleep", "1000")
		keeper.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: fd, Pdeathsig: unix.SIGKILL}
		if err := keeper.Start(); err != nil {
			t.Fatal(err)
		}
	}
	startIn()
	t.Cleanup(func() { _ = keeper.Process.Kill(); _ = keeper.Wait() })
	late, pid := begin("late")
	isIn(unit, false, pid, keeper.Process.Pid)
	isIn(service, true, early)
	if b, err := os.ReadFile(filepath.Join(unit, "cgroup.procs")); err != nil || len(b) > 0 {
		t.Errorf("in the unit's own cgroup are %q, %v", b, err)
	}
	if err := late.Freeze(); err != nil {
		t.Fatal(err)
	}
	if !standsStill(t, late, "out") {
		t.Error("the job in the unit writes while it is frozen")
	}

	// The unit's process is killed and the job ended; systemd makes the unit's cgroup anew.
	_ = keeper.Process.Kill()
	_ = keeper.Wait()
	late.Close()
	if err := s.Remove("late"); err != nil {
		t.Fatal(err)
	}
	removeCgroups(t, unit)
	isIn(service, false, early)
	startIn()
	isIn(unit, false, keeper.Process.Pid)
}

// For the moment of a freeze or an image the slice comes forward, unless an administrator has given it a weight.
func TestWeighSlice(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cpu.weight")
	weighSlice(dir, urgent)
	if _, err := os.Stat(file); err == nil {
		t.Error("a weight is set where there is none")
	}
	for _, tt := range []struct{ at, first, last string }{
		{"1\n", "10000", "1"},
		{"50\n", "50\n", "50\n"},
		{"10000", "10000", "1"}, // after an agent that was killed at that moment
		{"99\n", "10000", "1"},
	} {
		if err := os.WriteFile(file, []byte(tt.at), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			to   weight
			want string
		}{{urgent, tt.first}, {oneClaim, tt.last}} {
			weighSlice(dir, step.to)
			if got, err := os.ReadFile(file); err != nil || string(got) != step.want {
				t.Errorf("from %q to %v the weight is %q, %v, want %q", tt.at, step.to, got, err, step.want)
			}
		}
	}
}

// removeCgroups removes a cgroup and those below it, in which nothing lives any more, soon at least.
func removeCgroups(t *testing.T, dir string) {
	t.Helper()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroups(t, filepath.Join(dir, e.Name()))
		}
	}
	await(t, "the cgroup "+strconv.Quote(dir)+" is removed", func() bool {
		err := os.Remove(dir)
		return err == nil || os.IsNotExist(err)
	})
}
