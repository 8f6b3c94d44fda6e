package probe

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/cpuid/v2"

	"skua/policy/classad"
)

func TestFeatures(t *testing.T) {
	level := func(flags ...cpuid.FeatureID) cpuid.CPUInfo {
		cpu := cpuid.CPUInfo{BrandName: "Some CPU @ 3 GHz", Family: 6, Model: 85}
		cpu.Enable(cpuid.CMOV, cpuid.CMPXCHG8, cpuid.X87, cpuid.FXSR, cpuid.MMX, cpuid.SSE, cpuid.SSE2, cpuid.SYSCALL)
		cpu.Enable(flags...)
		return cpu
	}
	v2 := []cpuid.FeatureID{cpuid.CX16, cpuid.LAHF, cpuid.POPCNT, cpuid.SSE3, cpuid.SSE4, cpuid.SSE42, cpuid.SSSE3}
	v3 := append([]cpuid.FeatureID{
		cpuid.AVX, cpuid.AVX2, cpuid.BMI1, cpuid.BMI2, cpuid.F16C, cpuid.FMA3, cpuid.LZCNT, cpuid.MOVBE, cpuid.OSXSAVE,
	}, v2...)
	v4 := append([]cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512CD, cpuid.AVX512DQ, cpuid.AVX512VL}, v3...)
	for _, tt := range []struct {
		cpu   cpuid.CPUInfo
		micro string
		has   string
	}{
		{level(), "x86_64-v1", ""},
		{level(v2...), "x86_64-v2", "has_ssse3 has_sse4_1 has_sse4_2"},
		{level(v3...), "x86_64-v3", "has_ssse3 has_sse4_1 has_sse4_2 has_avx has_avx2"},
		{level(v4...), "x86_64-v4", "has_ssse3 has_sse4_1 has_sse4_2 has_avx has_avx2 has_avx512f has_avx512dq"},
	} {
		t.Run(tt.micro, func(t *testing.T) {
			ad := classad.NewAd()
			setFeatures(ad, tt.cpu)
			if got, _ := ad.Str("Microarch"); got != tt.micro {
				t.Errorf("Microarch is %q", got)
			}
			var has []string
			for _, f := range cpuFlags {
				if yes, known := ad.Bool(f.name); yes {
					has = append(has, f.name)
				} else if !known {
					t.Errorf("%s is %v", f.name, ad.Eval(f.name, nil))
				}
			}
			if got := strings.Join(has, " "); got != tt.has {
				t.Errorf("it has %q, want %q", got, tt.has)
			}
			if n, _ := ad.Int("CpuModelNumber"); n != 85 {
				t.Errorf("CpuModelNumber is %v", ad.Eval("CpuModelNumber", nil))
			}
		})
	}
	ad := classad.NewAd()
	setFeatures(ad, cpuid.CPUInfo{BrandName: "Some ARM"})
	if names := ad.Names(); len(names) != 1 {
		t.Errorf("a processor of another kind has %v", names)
	}
}

// What we ask the processor is what the kernel says of it.
func TestFeaturesOfThisMachine(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || runtime.GOARCH != "amd64" {
		t.Skip("no /proc/cpuinfo of a processor of this kind")
	}
	_, flags, _ := strings.Cut(string(info), "\nflags")
	flags, _, _ = strings.Cut(flags, "\n")
	ad := classad.NewAd()
	setFeatures(ad, cpuid.CPU)
	for _, f := range cpuFlags {
		has, _ := ad.Bool(f.name)
		if kernel := strings.Contains(flags+" ", " "+strings.TrimPrefix(f.name, "has_")+" "); has != kernel {
			t.Errorf("%s is %v, and for the kernel %v", f.name, has, kernel)
		}
	}
	micro, _ := ad.Str("Microarch")
	t.Logf("%s, %v %v", micro, ad.Eval("CpuModel", nil), ad.Eval("CpuFamily", nil))
}
