package job

import (
	"fmt"
	"strings"
	"testing"

	"skua/internal/fit"
	"skua/policy/classad"
)

// processors are six that stand on desks, with what the kernel's /proc/cpuinfo says of them and programs can use.
var processors = []struct{ name, microarch, features string }{
	{"Sandy Bridge (2011)", "x86_64-v2", nehalem + "aes avx pclmulqdq rdtscp xsave xsaveopt"},
	{"Haswell (2013)", "x86_64-v3", haswell},
	{"Skylake-X (2017)", "x86_64-v4", skylakeX},
	{"Ice Lake (2021)", "x86_64-v4", skylakeX + " avx512_bitalg avx512_vbmi2 avx512_vnni avx512_vpopcntdq avx512ifma avx512vbmi gfni sha_ni vaes vpclmulqdq"},
	{"Zen 2 (2019)", "x86_64-v3", zen2},
	{"Zen 4 (2022)", "x86_64-v4", zen2 + " avx512_bf16 avx512_bitalg avx512_vbmi2 avx512_vnni avx512_vpopcntdq avx512bw avx512cd avx512dq avx512f avx512ifma avx512vbmi avx512vl gfni vaes vpclmulqdq"},
}

const (
	nehalem  = "cmov cx16 cx8 fxsr lahf_lm mmx pni popcnt sse sse2 sse4_1 sse4_2 ssse3 "
	haswell  = nehalem + "abm aes avx avx2 bmi1 bmi2 f16c fma movbe pclmulqdq rdrand rdtscp xsave xsaveopt"
	skylakeX = haswell + " adx avx512bw avx512cd avx512dq avx512f avx512vl rdseed xgetbv1 xsavec"
	zen2     = haswell + " adx clzero mmxext rdpru rdseed sha_ni sse4a xgetbv1 xsavec"
)

// libraries are what three versions of a distribution have for the C library and another one.
var libraries = [][]fit.File{
	{{Path: testLibc, ID: "1111111111111111/1905632"}, {Path: testMath, ID: "1111111111111112/1321344"}},
	{{Path: testLibc, ID: "2222222222222221/1922136"}, {Path: testMath, ID: "2222222222222222/907784"}},
	{{Path: testLibc, ID: "3333333333333331/2010904"}, {Path: testMath, ID: "3333333333333332/976720"}},
}

const testMath = "/usr/lib/x86_64-linux-gnu/libm.so.6"

// desk is a machine of the model.
type desk struct {
	ad       *classad.Ad
	features []string
	files    []fit.File
}

// campus has each of the processors with each of the libraries.
func campus() (all []desk) {
	for _, p := range processors {
		for _, files := range libraries {
			d := desk{ad: classad.NewAd(), features: fit.Union(strings.Fields(p.features), nil), files: files}
			d.ad.SetBool("HasCheckpointing", true)
			d.ad.SetString("Arch", "X86_64")
			d.ad.SetString(fit.AttrMicroarch, p.microarch)
			d.ad.SetString(fit.AttrFeatures, fit.FeatureList(d.features))
			for _, f := range files {
				d.ad.SetString(fit.Attr(f.Path), string(f.ID))
			}
			all = append(all, d)
		}
	}
	return all
}

// exchange says in percent on how many of all ordered pairs of different machines a job that begins on the first can
// go on on the second, from an image that is made on the first; and on how many machines it can begin at all. The
// job asks to be held to a level itself, or has the pool's; and it has a runtime root, or the machine's libraries.
func exchange(t testing.TB, level fit.Baseline, itself, brings bool) (pairs, begins float64) {
	t.Helper()
	requirements := "true"
	if itself && level != "" {
		requirements = fmt.Sprintf("TARGET.%s >= %q", fit.AttrMicroarch, level.Microarch()) // as submitfile writes it
	}
	asks, err := classad.ParseExpr(requirements)
	if err != nil {
		t.Fatal(err)
	}
	desks := campus()
	good, can := 0, 0
	for i, from := range desks {
		if !asks.Eval(classad.NewAd(), from.ad).IsTrue() {
			continue
		}
		can++
		files := from.files
		if brings {
			files = nil // they are in its runtime root
		}
		needs := fit.Of(level.Limit(from.features), files).Trim()
		needs.Baseline = level
		if err := needs.Check(); err != nil {
			t.Fatal(err)
		}
		image := Image{Kind: CRIUImage, Needs: `TARGET.HasCheckpointing && TARGET.Arch == "X86_64"`, Fit: &needs}
		ad := (&Job{Ad: classad.NewAd(), State: Idle, Images: []Image{image}}).CurrentAd()
		fits, ok := ad.Lookup(fit.AttrRequirements)
		if !ok {
			t.Fatal("the image needs nothing")
		}
		for j, to := range desks {
			if i != j && asks.Eval(ad, to.ad).IsTrue() && fits.Eval(ad, to.ad).IsTrue() {
				good++
			}
		}
	}
	n := len(desks)
	return 100 * float64(good) / float64(n*(n-1)), 100 * float64(can) / float64(n)
}

// exchanges are the ways that docs/benchmarks.md tells of.
var exchanges = []struct {
	name           string
	level          fit.Baseline
	itself, brings bool
}{
	{"nothing", "", false, false},
	{"pool_v2", fit.V2, false, false},
	{"pool_v3", fit.V3, false, false},
	{"job_v3", fit.V3, true, false},
	{"runtime_root", "", false, true},
	{"pool_v2_runtime_root", fit.V2, false, true},
	{"pool_v3_runtime_root", fit.V3, false, true},
	{"job_v3_runtime_root", fit.V3, true, true},
}

// A baseline never takes a way that there was without, and with the least level and no libraries of the system all ways
// are open.
func TestExchange(t *testing.T) {
	got := map[string]float64{}
	for _, e := range exchanges {
		got[e.name], _ = exchange(t, e.level, e.itself, e.brings)
	}
	for _, more := range [][2]string{
		{"nothing", "pool_v3"},
		{"pool_v3", "pool_v2"},
		{"nothing", "runtime_root"},
		{"runtime_root", "pool_v3_runtime_root"},
		{"pool_v3", "pool_v3_runtime_root"},
		{"job_v3", "pool_v3"},
		{"job_v3_runtime_root", "pool_v3_runtime_root"},
	} {
		if got[more[0]] >= got[more[1]] {
			t.Errorf("with %s %.1f %% of the pairs exchange jobs, with %s %.1f %%", more[0], got[more[0]], more[1], got[more[1]])
		}
	}
	if got["pool_v2_runtime_root"] != 100 {
		t.Errorf("held to what all have, and with libraries of its own, a job can go %.1f %% of the ways", got["pool_v2_runtime_root"])
	}
}

func BenchmarkExchange(b *testing.B) {
	for b.Loop() {
		exchange(b, "", false, false)
	}
	for _, e := range exchanges {
		pairs, begins := exchange(b, e.level, e.itself, e.brings)
		fmt.Printf("bench: exchange_pct_%s=%.1f\n", e.name, pairs)
		if begins < 100 {
			fmt.Printf("bench: exchange_begin_pct_%s=%.1f\n", e.name, begins)
		}
	}
}
