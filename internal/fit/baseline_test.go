package fit

import (
	"slices"
	"strings"
	"testing"
)

func TestParseBaseline(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Baseline
		good bool
	}{
		{"x86-64-v3", V3, true},
		{" X86-64-V2\n", V2, true},
		{"none", "", true},
		{"", "", false},
		{"x86-64-v1", "", false},
		{"x86_64-v3", "", false},
		{"x86-64-v3\" || true", "", false},
	} {
		if got, err := ParseBaseline(tt.text); got != tt.want || (err == nil) != tt.good {
			t.Errorf("%q is %q (%v)", tt.text, got, err)
		}
	}
	if V3.Microarch() != "x86_64-v3" || V2.Microarch() >= V3.Microarch() {
		t.Errorf("machines would say %q", V3.Microarch())
	}
}

// icelake are the features of a server of 2021.
const icelake = "abm,adx,aes,avx,avx2,avx512_bitalg,avx512_vbmi2,avx512_vnni,avx512_vpopcntdq,avx512bw,avx512cd,avx512dq,avx512f," +
	"avx512ifma,avx512vbmi,avx512vl,bmi1,bmi2,cmov,cx16,cx8,f16c,fma,fxsr,gfni,lahf_lm,mmx,movbe,pclmulqdq,pni,popcnt,rdrand,rdseed," +
	"rdtscp,sha_ni,sse,sse2,sse4_1,sse4_2,ssse3,vaes,vpclmulqdq,xgetbv1,xsave,xsavec,xsaveopt"

func TestLimit(t *testing.T) {
	has := ParseFeatures(icelake)
	for _, tt := range []struct {
		level Baseline
		want  string
	}{
		{"", icelake},
		{V2, "cmov,cx16,cx8,fxsr,lahf_lm,mmx,pni,popcnt,sse,sse2,sse4_1,sse4_2,ssse3"},
		{V3, "abm,aes,avx,avx2,bmi1,bmi2,cmov,cx16,cx8,f16c,fma,fxsr,lahf_lm,mmx,movbe,pclmulqdq,pni,popcnt,rdrand,sse,sse2,sse4_1,sse4_2,ssse3,xsave"},
	} {
		if got := FeatureList(tt.level.Limit(has)); got != tt.want {
			t.Errorf("of %q there are\n%s, want\n%s", tt.level, got, tt.want)
		}
	}
	if got := V4.Limit(has); !slices.Contains(got, "avx512vl") || slices.Contains(got, "avx512_vnni") {
		t.Errorf("of level 4 there are %v", got)
	}
}

func TestBeyond(t *testing.T) {
	for _, tt := range []struct {
		level Baseline
		used  Registers
		want  string
	}{
		{V2, 3, ""},
		{V2, 7, "it has used AVX"},
		{V2, 0xe7, "it has used AVX-512"},
		{V3, 7, ""},
		{V3, 0xa2, "it has used AVX-512"}, // of glibc 2.36, seen
		{V3, 1 << 9, ""},                  // PKRU: the system's
		{V4, 0xe7, ""},
		{V4, 1 << 18, "it has used AMX"},
		{V4, 1 << 19, "it has used APX"},
	} {
		if got := tt.level.Beyond(tt.used); got != tt.want {
			t.Errorf("%s with registers %#x: %q, want %q", tt.level, uint64(tt.used), got, tt.want)
		}
	}
}

func TestDeaf(t *testing.T) {
	for path, want := range map[string]bool{
		"/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so": true,
		"/scratch/node":                    true,
		"/usr/lib/libnode.so.108":          true,
		"/usr/lib/libnode2.so":             false,
		"/usr/bin/python3.11":              false,
		"/scratch/\"libjvm.so":             false,
		"/usr/lib/x86_64/libc.so.6":        false,
		"/opt/julia-1.11/bin/julia":        true,
		"/scratch/nodes.txt":               false,
		"/scratch/libnode.so.\"|| true(\"": true,
	} {
		got := Deaf([]string{"/usr/bin/env", path})
		if (got != "") != want {
			t.Errorf("%s: %q", path, got)
		}
		if n := (Needs{Beyond: got}); n.Check() != nil {
			t.Errorf("%s: %q cannot be told: %v", path, got, n.Check())
		}
	}
}

func TestEnviron(t *testing.T) {
	const tunables = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512CD,-AVX512BW,-AVX512DQ,-AVX512VL,-AVX512ER,-AVX512PF,-FMA4,-RTM"
	features := ParseFeatures("avx,avx2,avx512f,avx512bw,avx512cd,sse2")
	for _, tt := range []struct {
		name      string
		env       []string
		want      string // in the result
		conflicts string
	}{
		{"nothing of the job's own", []string{"A=1"}, tunables, ""},
		{"nothing of the job's own, Go", nil, "GODEBUG=cpu.all=off", ""},
		{"nothing of the job's own, NumPy", nil, "NPY_DISABLE_CPU_FEATURES=AVX512F AVX512CD AVX512_SKX X86_V4", ""},
		{"another tunable", []string{"GLIBC_TUNABLES=glibc.malloc.check=3"}, "GLIBC_TUNABLES=glibc.malloc.check=3:" + tunables[len("GLIBC_TUNABLES="):], ""},
		{"an empty one", []string{"GLIBC_TUNABLES="}, tunables, ""},
		{"the same one", []string{tunables}, tunables, ""},
		{"the same tunable", []string{"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2"}, "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2", "GLIBC_TUNABLES"},
		{"another setting of Go's", []string{"GODEBUG=madvdontneed=1"}, "GODEBUG=madvdontneed=1,cpu.all=off", ""},
		{"the same of Go's", []string{"GODEBUG=madvdontneed=1,cpu.avx2=off"}, "GODEBUG=madvdontneed=1,cpu.avx2=off", "GODEBUG"},
		{"the same of Go's, as it should be", []string{"GODEBUG=cpu.all=off,gctrace=1"}, "GODEBUG=cpu.all=off,gctrace=1", ""},
		{"another kernel", []string{"OPENBLAS_CORETYPE=SkylakeX"}, "OPENBLAS_CORETYPE=SkylakeX", "OPENBLAS_CORETYPE"},
		{"the last one counts", []string{"OPENBLAS_CORETYPE=SkylakeX", "OPENBLAS_CORETYPE=Haswell"}, "OPENBLAS_CORETYPE=SkylakeX", ""},
		{"the opposite of what is asked", []string{"NPY_ENABLE_CPU_FEATURES=AVX512F"}, "NPY_ENABLE_CPU_FEATURES=AVX512F", "NPY_ENABLE_CPU_FEATURES"},
	} {
		with, conflicts := V3.Environ(tt.env, features)
		if !slices.Contains(with, tt.want) || strings.Join(conflicts, " ") != tt.conflicts {
			t.Errorf("%s: %q, conflicts %v; want %q in it", tt.name, with, conflicts, tt.want)
		}
	}
	if with, _ := Baseline("").Environ([]string{"A=1"}, features); !slices.Equal(with, []string{"A=1"}) {
		t.Errorf("without a baseline there are %q", with)
	}
}

// Whatever a job sets stays as it is, and what has been added is not added again.
func FuzzEnviron(f *testing.F) {
	f.Add("GODEBUG=cpu.avx=off", "GLIBC_TUNABLES=x:y", "x86-64-v2")
	f.Add("=", "NPY_ENABLE_CPU_FEATURES", "x86-64-v4")
	f.Fuzz(func(t *testing.T, first, second, level string) {
		b, err := ParseBaseline(level)
		if err != nil {
			return
		}
		env := []string{first, second}
		with, conflicts := b.Environ(env, []string{"avx512f"})
		for i, e := range env {
			name, value, _ := strings.Cut(e, "=")
			if !strings.HasPrefix(with[i], name) || !strings.Contains(with[i], strings.Trim(value, ":,")) {
				t.Errorf("%q became %q", e, with[i])
			}
		}
		again, more := b.Environ(with, []string{"avx512f"})
		if !slices.Equal(again, with) || !slices.Equal(more, conflicts) {
			t.Errorf("%q with %v, again, became %q with %v", with, conflicts, again, more)
		}
	})
}
