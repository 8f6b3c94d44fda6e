package probe

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/cpuid/v2"

	"skua/internal/fit"
	"skua/policy/classad"
)

func TestFeatureList(t *testing.T) {
	cpu := cpuid.CPUInfo{}
	cpu.Enable(cpuid.SSE2, cpuid.AVX512F, cpuid.AESNI, cpuid.CMPXCHG8)
	cpu.Enable(cpuid.VMX, cpuid.HYPERVISOR, cpuid.IBRS, cpuid.NX, cpuid.XSAVES) // the system's
	cpu.Enable(cpuid.ERMS, cpuid.AVXSLOW)                                       // not what, but how fast
	if got := fit.FeatureList(featuresOf(cpu)); got != "aes,avx512f,cx8,sse2" {
		t.Errorf("features are %q", got)
	}
	needs := fit.Needs{}
	for _, f := range features {
		needs.Features = append(needs.Features, f.name)
	}
	if err := needs.Check(); err != nil {
		t.Error(err)
	}
}

// What we ask the processor is what the kernel lets programs use. A newer processor may have more than this
// kernel has names for.
func TestFeaturesAreTheKernels(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || runtime.GOARCH != "amd64" {
		t.Skip("no /proc/cpuinfo of a processor of this kind")
	}
	_, line, _ := strings.Cut(string(info), "\nflags")
	line, _, _ = strings.Cut(line, "\n")
	flags := strings.Fields(line)
	got := Features()
	for _, name := range []string{"sse2", "ssse3", "sse4_1", "avx", "avx2", "avx512f", "avx512_vnni", "aes", "sha_ni", "fma", "bmi2", "movbe", "popcnt", "xsavec", "rdseed", "pni", "gfni", "vaes"} {
		if ours, kernels := slices.Contains(got, name), slices.Contains(flags, name); ours != kernels {
			t.Errorf("%s is there: %v, and for the kernel: %v", name, ours, kernels)
		}
	}
	for _, name := range got {
		if !slices.Contains(flags, name) {
			t.Logf("%s is not among the kernel's flags", name)
		}
	}
	ad := classad.NewAd()
	setFeatures(ad, cpuid.CPU)
	if list, _ := ad.Str(fit.AttrFeatures); list != fit.FeatureList(got) {
		t.Errorf("%s is %q", fit.AttrFeatures, list)
	}
}
