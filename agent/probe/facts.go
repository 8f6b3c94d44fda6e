package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"

	"skua/policy/classad"
)

// FactsConfig says where Facts looks.
type FactsConfig struct {
	Machine    string // the machine's name; "" means the host's own
	ExecuteDir string // where jobs run, for the free disk space; "" leaves that out

	Proc string // "" means /proc
	Sys  string // "" means /sys
	Etc  string // "" means /etc
}

// Facts reads what the machine is and has, as the attributes of HTCondor's machine ads. Memory is in
// MiB, disk and virtual memory in KiB. Name, and everything that depends on policy, is the caller's;
// Cpus, Memory and Disk are those of the whole machine until the caller divides them.
//
// What could not be read is missing from the ad and named by the error; the ad is good in any case.
func Facts(ctx context.Context, cfg FactsConfig) (*classad.Ad, error) {
	setDefault(&cfg.Proc, "/proc")
	setDefault(&cfg.Sys, "/sys")
	setDefault(&cfg.Etc, "/etc")
	ctx = gopsutilRoots(ctx, cfg)
	ad := classad.NewAd()
	var errs []error
	for _, read := range []func(context.Context, FactsConfig, *classad.Ad) error{
		nameFacts, systemFacts, libcFacts, cpuFacts, featureFacts, memoryFacts, DiskFacts,
	} {
		if err := read(ctx, cfg, ad); err != nil {
			errs = append(errs, err)
		}
	}
	return ad, errors.Join(errs...)
}

// gopsutilRoots tells gopsutil where to look, which it takes from the context.
func gopsutilRoots(ctx context.Context, cfg FactsConfig) context.Context {
	return context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: cfg.Proc,
		common.HostSysEnvKey:  cfg.Sys,
	})
}

func nameFacts(_ context.Context, cfg FactsConfig, ad *classad.Ad) error {
	ad.SetString("Arch", arch(runtime.GOARCH))
	ad.SetBool("IsWindows", runtime.GOOS == "windows")
	ad.SetInt("BootTime", bootSeconds())
	name := cfg.Machine
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return err
		}
	}
	ad.SetString("Machine", strings.ToLower(name))
	return nil
}

// bootSeconds is the Unix time of the machine's start. It is read once: computed again it would
// differ by one now and then, and each time the ad would be news.
var bootSeconds = sync.OnceValue(func() int64 { return bootTime().Unix() })

// arch gives HTCondor's name for a processor architecture.
func arch(goarch string) string {
	switch goarch {
	case "amd64":
		return "X86_64"
	case "386":
		return "INTEL"
	case "arm64":
		return "aarch64"
	}
	return goarch
}

func cpuFacts(ctx context.Context, _ FactsConfig, ad *classad.Ad) error {
	n, err := cpu.CountsWithContext(ctx, true)
	if err != nil || n < 1 {
		return fmt.Errorf("count cpus: %w", orNone(err))
	}
	for _, name := range []string{"DetectedCpus", "TotalCpus", "Cpus"} {
		ad.SetInt(name, int64(n))
	}
	if runtime.GOOS == "windows" {
		return nil // gopsutil would ask WMI for the cores, which takes seconds
	}
	if n, err = cpu.CountsWithContext(ctx, false); err != nil || n < 1 {
		return fmt.Errorf("count cores: %w", orNone(err))
	}
	ad.SetInt("DetectedPhysicalCpus", int64(n))
	return nil
}

var errNone = errors.New("none found")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

func memoryFacts(ctx context.Context, _ FactsConfig, ad *classad.Ad) error {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil || m.Total == 0 {
		return fmt.Errorf("read memory: %w", orNone(err))
	}
	for _, name := range []string{"DetectedMemory", "TotalMemory", "Memory"} {
		ad.SetInt(name, int64(m.Total>>20))
	}
	swap, err := mem.SwapMemoryWithContext(ctx)
	if err != nil {
		return fmt.Errorf("read swap: %w", err)
	}
	ad.SetInt("TotalVirtualMemory", int64((m.Total+swap.Total)>>10))
	return nil
}

// DiskFacts reads how much of the disk is free, the one fact of [Facts] that changes all the time.
func DiskFacts(ctx context.Context, cfg FactsConfig, ad *classad.Ad) error {
	if cfg.ExecuteDir == "" {
		return nil
	}
	u, err := disk.UsageWithContext(ctx, cfg.ExecuteDir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", cfg.ExecuteDir, err)
	}
	ad.SetInt("TotalDisk", int64(u.Free>>10))
	ad.SetInt("Disk", int64(u.Free>>10))
	return nil
}

// opSys describes an operating system in HTCondor's words.
type opSys struct {
	family       string // "LINUX"
	name, long   string // "Debian", "Debian GNU/Linux 12 (bookworm)"
	major, minor int    // negative when it has no version
	kernel       string
}

func (o opSys) set(ad *classad.Ad) {
	ad.SetString("OpSys", o.family)
	if o.kernel != "" {
		ad.SetString("KernelRelease", o.kernel)
	}
	if o.name == "" {
		return
	}
	ad.SetString("OpSysName", o.name)
	ad.SetString("OpSysShortName", o.name)
	ad.SetString("OpSysLongName", o.long)
	if o.major < 0 {
		ad.SetString("OpSysAndVer", o.name)
		return
	}
	ad.SetString("OpSysAndVer", o.name+strconv.Itoa(o.major))
	ad.SetInt("OpSysMajorVer", int64(o.major))
	ad.SetInt("OpSysVer", int64(o.major*100+max(0, o.minor)))
}
