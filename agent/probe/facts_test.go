package probe

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"skua/policy/classad"
)

func TestFactsOfThisMachine(t *testing.T) {
	ad, err := Facts(t.Context(), FactsConfig{ExecuteDir: t.TempDir()})
	if err != nil {
		t.Errorf("not everything could be read: %v", err)
	}
	for _, name := range []string{
		"DetectedCpus", "TotalCpus", "Cpus", "DetectedMemory", "TotalMemory", "Memory",
		"TotalVirtualMemory", "TotalDisk", "Disk", "BootTime",
	} {
		if n, ok := ad.Int(name); !ok || n <= 0 {
			t.Errorf("%s is %v", name, ad.Eval(name, nil))
		}
	}
	for _, name := range []string{"Machine", "OpSys", "OpSysAndVer", "Arch", "KernelRelease", "CpuModel"} {
		if s, ok := ad.Str(name); !ok || s == "" {
			t.Errorf("%s is %v", name, ad.Eval(name, nil))
		}
	}
	if cpus, _ := ad.Int("Cpus"); int(cpus) < runtime.NumCPU() {
		t.Errorf("Cpus is %d, this process alone may use %d", cpus, runtime.NumCPU())
	}
	boot, _ := ad.Int("BootTime")
	if since := time.Since(time.Unix(boot, 0)); since < 0 {
		t.Errorf("the machine starts in %v", -since)
	}
}

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFactsFromFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the files are Linux's")
	}
	root := tree(t, map[string]string{
		"proc/cpuinfo": "processor\t: 0\n\nprocessor\t: 1\n\nprocessor\t: 2\n\nprocessor\t: 3\n\n",
		"proc/meminfo": "MemTotal:       16384000 kB\nMemFree:         1000 kB\nMemAvailable:  2000 kB\n",
		"sys/devices/system/cpu/cpu0/topology/core_cpus_list": "0-1\n",
		"sys/devices/system/cpu/cpu1/topology/core_cpus_list": "0-1\n",
		"sys/devices/system/cpu/cpu2/topology/core_cpus_list": "2-3\n",
		"sys/devices/system/cpu/cpu3/topology/core_cpus_list": "2-3\n",
		"etc/os-release": "ID=ubuntu\nVERSION_ID=\"22.04\"\nPRETTY_NAME=\"Ubuntu 22.04.3 LTS\"\n",
	})
	cfg := FactsConfig{
		Machine: "Desk7.Example.ORG",
		Proc:    filepath.Join(root, "proc"), Sys: filepath.Join(root, "sys"), Etc: filepath.Join(root, "etc"),
	}
	ad, err := Facts(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"DetectedCpus": 4, "TotalCpus": 4, "Cpus": 4, "DetectedPhysicalCpus": 2,
		"DetectedMemory": 16000, "Memory": 16000, "OpSysMajorVer": 22, "OpSysVer": 2204,
	} {
		if got, _ := ad.Int(name); got != want {
			t.Errorf("%s is %v, want %d", name, ad.Eval(name, nil), want)
		}
	}
	for name, want := range map[string]string{
		"OpSys": "LINUX", "OpSysAndVer": "Ubuntu22", "OpSysName": "Ubuntu",
		"OpSysLongName": "Ubuntu 22.04.3 LTS", "Machine": "desk7.example.org",
	} {
		if got, _ := ad.Str(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, ok := ad.Lookup("Disk"); ok {
		t.Error("Disk is there without a directory to measure")
	}
}

func TestFactsLeaveOutWhatCannotBeRead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the files are Linux's")
	}
	none := t.TempDir()
	ad, err := Facts(t.Context(), FactsConfig{Proc: none, Sys: none, Etc: none, ExecuteDir: filepath.Join(none, "x")})
	if err == nil {
		t.Error("no error names what is missing")
	}
	for _, name := range []string{"Cpus", "Memory", "OpSysAndVer", "Disk"} {
		if _, ok := ad.Lookup(name); ok {
			t.Errorf("%s is %v", name, ad.Eval(name, nil))
		}
	}
	for _, name := range []string{"OpSys", "Arch", "Machine", "KernelRelease"} {
		if _, ok := ad.Lookup(name); !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestParseOSRelease(t *testing.T) {
	for _, tt := range []struct {
		text string
		want opSys
	}{
		{"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", opSys{"LINUX", "Debian", "Debian GNU/Linux 12 (bookworm)", 12, -1, ""}},
		{"# a comment\nID='rhel'\r\nVERSION_ID='9.4'\r\n", opSys{"LINUX", "RedHat", "RedHat", 9, 4, ""}},
		{"ID=arch\nNAME=\"Arch Linux\"\n", opSys{"LINUX", "ArchLinux", "ArchLinux", -1, -1, ""}},
		{"", opSys{"LINUX", "", "", -1, -1, ""}},
	} {
		if got := parseOSRelease(tt.text); got != tt.want {
			t.Errorf("%q gives %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

func TestLoadIsShared(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the files are Linux's")
	}
	proc := tree(t, map[string]string{"loadavg": "2.50 1.00 0.50 3/300 1234\n"})
	got, err := NewLoadMeter(proc).Load(t.Context(), 1.5)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Load{Total: 2.5, Ours: 1.5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.Owner() != 1 {
		t.Errorf("the owner's load is %v, want 1", got.Owner())
	}
	ad := classad.NewAd()
	got.Set(ad)
	for name, want := range map[string]float64{"LoadAvg": 2.5, "SkuaLoadAvg": 1.5, "CondorLoadAvg": 1.5} {
		if got, _ := ad.Real(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if over := (Load{Total: 1, Ours: 1.2}); over.Owner() != 0 {
		t.Errorf("the owner's load is %v, want 0", over.Owner())
	}
}

func TestOurLoadDecaysAsTheSystems(t *testing.T) {
	now := time.Unix(1e9, 0)
	var a average
	a.add(now, 1)
	for _, tt := range []struct {
		after time.Duration
		ours  float64
		want  float64
	}{
		{0, 1, 1},
		{time.Minute, 0, math.Exp(-1)},
		{2 * time.Minute, 0, math.Exp(-2)},
		{2 * time.Minute, 5, math.Exp(-2)}, // no time has passed
		{time.Minute, 5, math.Exp(-2)},     // the clock was set back
		{time.Hour, 3, 3},
	} {
		a.add(now.Add(tt.after), tt.ours)
		if math.Abs(a.value-tt.want) > 1e-9 {
			t.Errorf("after %v our load is %v, want %v", tt.after, a.value, tt.want)
		}
	}
}

func TestBusyTime(t *testing.T) {
	now := time.Unix(1e9, 0)
	var b busyTime
	for _, tt := range []struct {
		after time.Duration
		busy  float64
		want  float64
	}{
		{0, 100, 0},
		{10 * time.Second, 120, 2},
		{10 * time.Second, 130, 0}, // no time has passed
		{20 * time.Second, 10, 0},  // counters began anew
		{30 * time.Second, 15, 0.5},
	} {
		if got := b.since(now.Add(tt.after), tt.busy); got != tt.want {
			t.Errorf("after %v %v cpus are in use, want %v", tt.after, got, tt.want)
		}
	}
}
