package fit

import (
	"slices"
	"strings"
)

// setting is a variable by which a library is told what it may use of the processor.
type setting struct {
	name  string
	value func(b Baseline, features []string) string
	// A list of settings, of which this is one. One that begins otherwise can stand beside it.
	separator, key string
}

// settings are the variables, each for a library that asks the processor what it can do and lets itself be told
// otherwise. What they do was seen with glibc 2.36, 2.41 and 2.43, Go 1.26, OpenBLAS 0.3.21, NumPy 1.24 and OpenSSL 3.0; the rest
// is by the documentation of oneMKL, oneDNN, PyTorch and Arrow.
var settings = []setting{
	// Of glibc: strings, mathematics, and which of the directories glibc-hwcaps libraries are taken from. XSAVEC stays,
	// whatever the level: ld.so would take XSAVE for it, which is worse, see [LazyBinding].
	{name: "GLIBC_TUNABLES", separator: ":", key: "glibc.cpu.hwcaps=", value: byLevel(
		"glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-F16C,-BMI1,-BMI2,-LZCNT,-MOVBE,-AVX_Fast_Unaligned_Load,"+glibcAVX512+",-FMA4,-RTM",
		"glibc.cpu.hwcaps="+glibcAVX512+",-FMA4,-RTM",
		"glibc.cpu.hwcaps=-RTM")},
	// Of Go's runtime and standard library. Versions of Go know different names and complain of those that they do not
	// know, on standard error; this one they all know. What a program was compiled for it keeps.
	{name: "GODEBUG", separator: ",", key: "cpu.", value: byLevel("cpu.all=off", "cpu.all=off", "cpu.all=off")},
	{name: "OPENBLAS_CORETYPE", value: byLevel("Nehalem", "Haswell", "SkylakeX")},
	{name: "NPY_DISABLE_CPU_FEATURES", value: numpy},
	// Three words of bits to be cleared and two of bits that are not kept: CPUID 1; 7; and what came later.
	{name: "OPENSSL_ia32cap", value: byLevel("~0x7240180200000000:~0x5f62fc2f0938:0:0:0", "~0x80000000000:~0x5f62fc2f0810:0:0:0", "~0x80000000000:~0x5f622c200810:0:0:0")},
	{name: "MKL_ENABLE_INSTRUCTIONS", value: byLevel("SSE4_2", "AVX2", "AVX512")},
	{name: "ONEDNN_MAX_CPU_ISA", value: byLevel("SSE41", "AVX2", "AVX512_CORE")},
	{name: "ATEN_CPU_CAPABILITY", value: byLevel("default", "avx2", "avx512")},
	{name: "ARROW_USER_SIMD_LEVEL", value: byLevel("SSE4_2", "AVX2", "AVX512")},
}

const glibcAVX512 = "-AVX512F,-AVX512CD,-AVX512BW,-AVX512DQ,-AVX512VL,-AVX512ER,-AVX512PF"

// against are variables with which a user says the opposite of one of the settings, and which the library does not
// take together with it.
var against = map[string]string{"NPY_DISABLE_CPU_FEATURES": "NPY_ENABLE_CPU_FEATURES"}

// LazyBinding is the variable that has ld.so look up all functions at the start, rather than each when it is first
// called. Every job that may be moved should have it. While it looks a function up, ld.so keeps the registers of
// vectors on the stack, in as much room as they took on the processor where the program began. On one with more of
// them XSAVE writes more than that: over the stack of whoever has called.
const LazyBinding = "LD_BIND_NOW=1"

func byLevel(v2, v3, v4 string) func(Baseline, []string) string {
	return func(b Baseline, _ []string) string {
		switch b {
		case V2:
			return v2
		case V3:
			return v3
		case V4:
			return v4
		}
		return ""
	}
}

// numpy names what NumPy is to leave alone of what this processor has: it warns of names that the processor does not
// have, and of names that its build does not know, of which there are some in every one.
func numpy(b Baseline, features []string) string {
	var names []string
	for _, f := range []struct {
		above   Baseline // that it is more than
		feature string
		names   string
	}{
		{V2, "avx", "AVX"},
		{V2, "f16c", "F16C"},
		{V2, "fma", "FMA3"},
		{V2, "avx2", "AVX2 X86_V3"},
		{V3, "avx512f", "AVX512F"},
		{V3, "avx512cd", "AVX512CD"},
		{V3, "avx512bw", "AVX512_SKX X86_V4"},
		{V4, "fma4", "FMA4"},
		{V4, "xop", "XOP"},
		{V4, "avx512er", "AVX512_KNL"},
		{V4, "avx512_vnni", "AVX512_CLX"},
		{V4, "avx512vbmi", "AVX512_CNL"},
		{V4, "avx512_vbmi2", "AVX512_ICL"},
		{V4, "avx512_fp16", "AVX512_SPR"},
	} {
		if b <= f.above && slices.Contains(features, f.feature) {
			names = append(names, f.names)
		}
	}
	return strings.Join(names, " ")
}

// Environ adds to the environment of a job's program what has libraries keep to the baseline on a processor with
// these features. What is there stays as it is: the names of variables that say something else are in conflicts,
// and then the program does not keep to it.
func (b Baseline) Environ(env, features []string) (with, conflicts []string) {
	with = slices.Clone(env)
	if b == "" {
		return with, nil
	}
	for _, s := range settings {
		if other := against[s.name]; other != "" && find(with, other) >= 0 {
			conflicts = append(conflicts, other)
			continue
		}
		value := s.value(b, features)
		if value == "" {
			continue
		}
		i := find(with, s.name)
		if i < 0 {
			with = append(with, s.name+"="+value)
			continue
		}
		_, has, _ := strings.Cut(with[i], "=")
		switch {
		case has == value:
		case s.separator == "":
			conflicts = append(conflicts, s.name)
		case !slices.ContainsFunc(strings.Split(has, s.separator), func(part string) bool { return strings.HasPrefix(part, s.key) }):
			with[i] = s.name + "=" + strings.Trim(has+s.separator+value, s.separator)
		case !slices.Contains(strings.Split(has, s.separator), value):
			conflicts = append(conflicts, s.name)
		}
	}
	return with, conflicts
}

// find gives the place of a variable, the last of its name, which is the one that counts; -1 if there is none.
func find(env []string, name string) int {
	for i, e := range slices.Backward(env) {
		if n, _, _ := strings.Cut(e, "="); n == name {
			return i
		}
	}
	return -1
}
