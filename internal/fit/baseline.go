package fit

import (
	"fmt"
	"slices"
	"strings"
)

// Baseline is a level of x86-64 that a job's programs keep to, so that an image of them goes on on every processor
// of that level and not only on those that can do all that this one can. "" is none: programs use what they find.
//
// Nothing forces a program to keep to it. [Baseline.Environ] asks those that can be asked, and what an image is
// seen to hold may say otherwise.
type Baseline string

// The levels, by the names that compilers have for them. Level 1 is what every processor of the kind can do, and no
// program is held to so little.
const (
	V2 Baseline = "x86-64-v2"
	V3 Baseline = "x86-64-v3"
	V4 Baseline = "x86-64-v4"
)

// The attributes of baselines.
const (
	AttrBaseline    = "CpuBaseline"           // of a job: what it asks for, a level or NoBaseline
	AttrJobBaseline = "CheckpointCpuBaseline" // of a job with an image: [Needs.Baseline]
	AttrJobBeyond   = "CheckpointBeyond"      // of a job with an image: [Needs.Beyond]
	AttrMicroarch   = "Microarch"             // of a machine: the level of its processor, as HTCondor writes it
)

// NoBaseline is how a job says that it wants none, whatever the pool has for jobs that say nothing.
const NoBaseline = "none"

// BaselineHint says to a person what can be written.
const BaselineHint = "write x86-64-v2, x86-64-v3, x86-64-v4, or none"

// ParseBaseline reads a level. [NoBaseline] gives "".
func ParseBaseline(text string) (Baseline, error) {
	switch b := Baseline(strings.ToLower(strings.TrimSpace(text))); b {
	case V2, V3, V4:
		return b, nil
	case NoBaseline:
		return "", nil
	}
	return "", fmt.Errorf("%.40q is no level of x86-64", text)
}

// Microarch gives the level as machines tell theirs. The later levels come after the earlier ones as strings, too.
func (b Baseline) Microarch() string { return strings.Replace(string(b), "x86-64", "x86_64", 1) }

// Limit gives those of a processor's features that programs which keep to the baseline make use of: its level, and
// a few that practically every processor of the level has. What of those few a processor does have is needed
// wherever the program goes on, so nobody needs to be kept from using it. Without a baseline these are all.
func (b Baseline) Limit(features []string) []string {
	if b == "" {
		return features
	}
	var kept []string
	for _, f := range features {
		if at, ok := levels[f]; ok && at <= b {
			kept = append(kept, f)
		}
	}
	return kept
}

// levels say with which level a feature comes: those of the System V ABI for x86-64, and those that processors of
// the level are not sold without.
var levels = func() map[string]Baseline {
	all := map[string]Baseline{}
	for _, l := range []struct {
		level    Baseline
		features string
	}{
		{V2, "cmov cx8 fxsr mmx sse sse2"},
		{V2, "cx16 lahf_lm pni popcnt sse4_1 sse4_2 ssse3"},
		{V3, "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"},
		{V3, "aes pclmulqdq rdrand"}, // not of the ABI
		{V4, "avx512bw avx512cd avx512dq avx512f avx512vl"},
		{V4, "adx rdseed xgetbv1 xsavec xsaveopt"}, // not of the ABI
	} {
		for f := range strings.FieldsSeq(l.features) {
			all[f] = l.level
		}
	}
	return all
}()

// Registers are sets of registers that the kernel keeps for a thread only once that has used them, as the bits that
// the processor has for them (XSTATE_BV). They tell of a program what it has done.
type Registers uint64

// The registers that come with a level.
const (
	ymm Registers = 1 << 2             // AVX
	zmm Registers = 1<<5 | 1<<6 | 1<<7 // AVX-512: masks, upper halves, the upper sixteen
	amx Registers = 1<<17 | 1<<18      // tiles
	apx Registers = 1 << 19            // the upper sixteen integers

	programs = ymm | zmm | amx | apx // the others are the system's business
)

// Beyond says in plain words which registers a program must not have used that keeps to the baseline; "" if it
// has used none of them.
func (b Baseline) Beyond(used Registers) string {
	allowed := programs
	switch b {
	case V2:
		allowed = 0
	case V3:
		allowed = ymm
	case V4:
		allowed = ymm | zmm
	}
	switch over := used & programs &^ allowed; {
	case over == 0:
		return ""
	case over&zmm != 0:
		return "it has used AVX-512"
	case over&ymm != 0:
		return "it has used AVX"
	case over&amx != 0:
		return "it has used AMX"
	}
	return "it has used APX"
}

// deaf are files that belong to programs which ask the processor themselves and cannot be asked to hold back:
// compilers at run time, which make code for the very processor that they run on.
var deaf = []string{"libjvm.so", "libnode.so", "node", "nodejs", "julia", "libjulia-internal.so", "libmono", "libcoreclr.so"}

// Deaf says in plain words that one of the files which a program has mapped is known not to heed a baseline; "" if
// none is.
func Deaf(paths []string) string {
	for _, p := range paths {
		name := p[strings.LastIndexByte(p, '/')+1:]
		if slices.ContainsFunc(deaf, func(d string) bool { return name == d || strings.HasPrefix(name, d+".") }) {
			return fmt.Sprintf("%.40s makes code for the processor that it finds", plainText(name))
		}
	}
	return ""
}
