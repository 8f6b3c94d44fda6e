package probe

import (
	"context"
	"strconv"

	"github.com/klauspost/cpuid/v2"

	"skua/internal/fit"
	"skua/policy/classad"
)

// cpuFlags are the abilities of a processor that HTCondor's machines tell, by its names.
var cpuFlags = []struct {
	name string
	id   cpuid.FeatureID
}{
	{"has_ssse3", cpuid.SSSE3},
	{"has_sse4_1", cpuid.SSE4},
	{"has_sse4_2", cpuid.SSE42},
	{"has_avx", cpuid.AVX},
	{"has_avx2", cpuid.AVX2},
	{"has_avx512f", cpuid.AVX512F},
	{"has_avx512dq", cpuid.AVX512DQ},
	{"has_avx512_vnni", cpuid.AVX512VNNI},
}

// featureFacts tells what the processor can do. It asks the processor itself, which every system lets it
// do; what the system does not let programs use counts as not there.
func featureFacts(_ context.Context, _ FactsConfig, ad *classad.Ad) error {
	setFeatures(ad, cpuid.CPU)
	return nil
}

func setFeatures(ad *classad.Ad, cpu cpuid.CPUInfo) {
	if cpu.BrandName != "" {
		ad.SetString("CpuModel", cpu.BrandName)
	}
	if f := featuresOf(cpu); len(f) > 0 {
		ad.SetString(fit.AttrFeatures, fit.FeatureList(f))
	}
	level := cpu.X64Level()
	if level == 0 {
		return // not of this kind, and so without these names
	}
	ad.SetInt("CpuFamily", int64(cpu.Family))
	ad.SetInt("CpuModelNumber", int64(cpu.Model))
	ad.SetString("Microarch", "x86_64-v"+strconv.Itoa(level))
	for _, f := range cpuFlags {
		ad.SetBool(f.name, cpu.Supports(f.id))
	}
}
