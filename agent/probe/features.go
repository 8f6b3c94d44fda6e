package probe

import (
	"github.com/klauspost/cpuid/v2"

	"skua/internal/fit"
)

// Features are what the processor can do for programs, by the names of Linux's /proc/cpuinfo and in order. What
// the system does not let programs use counts as not there, and so does what only the system can use, or what
// says how fast something is: programs that have asked for these run on without them.
func Features() []string { return featuresOf(cpuid.CPU) }

func featuresOf(cpu cpuid.CPUInfo) []string {
	var all []string
	for _, f := range features {
		if cpu.Supports(f.id) {
			all = append(all, f.name)
		}
	}
	return fit.Union(all, nil)
}

// features are those that add instructions or registers of programs. Of x86 they are what CRIU compares with
// --cpu-cap=ins (its criu/arch/x86/cpu.c), without those of the system and with those that came later.
var features = []struct {
	name string
	id   cpuid.FeatureID
}{
	{"3dnow", cpuid.AMD3DNOW},
	{"3dnowext", cpuid.AMD3DNOWEXT},
	{"abm", cpuid.LZCNT},
	{"adx", cpuid.ADX},
	{"aes", cpuid.AESNI},
	{"amx_bf16", cpuid.AMXBF16},
	{"amx_complex", cpuid.AMXCOMPLEX},
	{"amx_fp16", cpuid.AMXFP16},
	{"amx_int8", cpuid.AMXINT8},
	{"amx_tile", cpuid.AMXTILE},
	{"apx", cpuid.APX_F},
	{"avx", cpuid.AVX},
	{"avx2", cpuid.AVX2},
	{"avx512_bf16", cpuid.AVX512BF16},
	{"avx512_bitalg", cpuid.AVX512BITALG},
	{"avx512_fp16", cpuid.AVX512FP16},
	{"avx512_vbmi2", cpuid.AVX512VBMI2},
	{"avx512_vnni", cpuid.AVX512VNNI},
	{"avx512_vp2intersect", cpuid.AVX512VP2INTERSECT},
	{"avx512_vpopcntdq", cpuid.AVX512VPOPCNTDQ},
	{"avx512bw", cpuid.AVX512BW},
	{"avx512cd", cpuid.AVX512CD},
	{"avx512dq", cpuid.AVX512DQ},
	{"avx512er", cpuid.AVX512ER},
	{"avx512f", cpuid.AVX512F},
	{"avx512ifma", cpuid.AVX512IFMA},
	{"avx512pf", cpuid.AVX512PF},
	{"avx512vbmi", cpuid.AVX512VBMI},
	{"avx512vl", cpuid.AVX512VL},
	{"avx_ifma", cpuid.AVXIFMA},
	{"avx_ne_convert", cpuid.AVXNECONVERT},
	{"avx_vnni", cpuid.AVXVNNI},
	{"avx_vnni_int16", cpuid.AVXVNNIINT16},
	{"avx_vnni_int8", cpuid.AVXVNNIINT8},
	{"bmi1", cpuid.BMI1},
	{"bmi2", cpuid.BMI2},
	{"clzero", cpuid.CLZERO},
	{"cmov", cpuid.CMOV},
	{"cmpccxadd", cpuid.CMPCCXADD},
	{"cx16", cpuid.CX16},
	{"cx8", cpuid.CMPXCHG8},
	{"f16c", cpuid.F16C},
	{"fma", cpuid.FMA3},
	{"fma4", cpuid.FMA4},
	{"fxsr", cpuid.FXSR},
	{"gfni", cpuid.GFNI},
	{"lahf_lm", cpuid.LAHF},
	{"mmx", cpuid.MMX},
	{"mmxext", cpuid.MMXEXT},
	{"movbe", cpuid.MOVBE},
	{"movdir64b", cpuid.MOVDIR64B},
	{"movdiri", cpuid.MOVDIRI},
	{"pclmulqdq", cpuid.CLMUL},
	{"pni", cpuid.SSE3},
	{"popcnt", cpuid.POPCNT},
	{"rdpru", cpuid.RDPRU},
	{"rdrand", cpuid.RDRAND},
	{"rdseed", cpuid.RDSEED},
	{"rdtscp", cpuid.RDTSCP},
	{"rtm", cpuid.RTM},
	{"serialize", cpuid.SERIALIZE},
	{"sha_ni", cpuid.SHA},
	{"sse", cpuid.SSE},
	{"sse2", cpuid.SSE2},
	{"sse4_1", cpuid.SSE4},
	{"sse4_2", cpuid.SSE42},
	{"sse4a", cpuid.SSE4A},
	{"ssse3", cpuid.SSSE3},
	{"tbm", cpuid.TBM},
	{"tsxldtrk", cpuid.TSXLDTRK},
	{"vaes", cpuid.VAES},
	{"vpclmulqdq", cpuid.VPCLMULQDQ},
	{"waitpkg", cpuid.WAITPKG},
	{"xgetbv1", cpuid.XGETBV1},
	{"xop", cpuid.XOP},
	{"xsave", cpuid.XSAVE},
	{"xsavec", cpuid.XSAVEC},
	{"xsaveopt", cpuid.XSAVEOPT},

	// ARM
	{"aes", cpuid.AESARM},
	{"asimd", cpuid.ASIMD},
	{"asimddp", cpuid.ASIMDDP},
	{"asimdfhm", cpuid.FHM},
	{"asimdhp", cpuid.ASIMDHP},
	{"asimdrdm", cpuid.ASIMDRDM},
	{"atomics", cpuid.ATOMICS},
	{"bf16", cpuid.BF16},
	{"bti", cpuid.BTI},
	{"crc32", cpuid.CRC32},
	{"cssc", cpuid.CSSC},
	{"dcpodp", cpuid.DCPODP},
	{"dcpop", cpuid.DCPOP},
	{"fcma", cpuid.FCMA},
	{"flagm", cpuid.TS},
	{"flagm2", cpuid.FLAGM2},
	{"fp", cpuid.FP},
	{"fphp", cpuid.FPHP},
	{"frint", cpuid.FRINTTS},
	{"hbc", cpuid.HBC},
	{"i8mm", cpuid.I8MM},
	{"jscvt", cpuid.JSCVT},
	{"lrcpc", cpuid.LRCPC},
	{"mops", cpuid.MOPS},
	{"paca", cpuid.GPA},
	{"pmull", cpuid.PMULL},
	{"rng", cpuid.RNDR},
	{"sb", cpuid.SB},
	{"sha1", cpuid.SHA1},
	{"sha2", cpuid.SHA2},
	{"sha3", cpuid.SHA3},
	{"sha512", cpuid.SHA512},
	{"sm3", cpuid.SM3},
	{"sm4", cpuid.SM4},
	{"ssbs", cpuid.SSBS},
	{"sve", cpuid.SVE},
	{"sve2", cpuid.SVE2},
	{"wfxt", cpuid.WFXT},
}
