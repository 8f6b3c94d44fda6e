package classad

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func readAd(tb testing.TB, name string) string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// machineText is the ad of the i-th machine of a pool, 161 attributes or more. The machines differ in
// their names, addresses and sizes, and one in five has no file transfer.
func machineText(base string, i int) string {
	name := fmt.Sprintf("desk%d", 100+i)
	swap := []string{
		"desk17", name, "192.0.2.17", fmt.Sprintf("10.1.%d.%d", i/250, i%250), "4f1c", fmt.Sprintf("%04x", i),
		"\nCpus = 8\n", fmt.Sprintf("\nCpus = %d\n", 4+i%13), "\nMemory = 32021\n", fmt.Sprintf("\nMemory = %d\n", 2048+i%31*1024),
		"\nDisk = 410326112\n", fmt.Sprintf("\nDisk = %d\n", 200000000+i*1111),
		"\nKFlops = 1843211\n", fmt.Sprintf("\nKFlops = %d\n", 1000000+i),
		"\nKeyboardIdle = 1900\n", fmt.Sprintf("\nKeyboardIdle = %d\n", 1000+i),
	}
	if i%5 == 0 {
		swap = append(swap, "HasFileTransfer = true", "HasFileTransfer = false")
	}
	return strings.NewReplacer(swap...).Replace(base)
}

// machines makes n different machine ads.
func machines(tb testing.TB, n int) []*Ad {
	tb.Helper()
	base := readAd(tb, "machine.ad")
	ads := make([]*Ad, n)
	for i := range ads {
		ads[i] = mustAd(tb, machineText(base, i))
	}
	return ads
}

func BenchmarkParse(b *testing.B) {
	base := readAd(b, "machine.ad")
	var texts []string
	for i := range 100 {
		texts = append(texts, machineText(base, i))
	}
	ad := mustAd(b, base)
	name := func(syntax string) string { return fmt.Sprintf("%s/attrs=%d", syntax, ad.Len()) }
	run := func(syntax string, texts []string, parse func(string) (*Ad, error)) {
		b.Run(name(syntax), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(texts[0])))
			for i := 0; b.Loop(); i++ {
				if _, err := parse(texts[i%len(texts)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("old", texts, ParseOldAd)
	var news, jsons []string
	for _, text := range texts {
		ad := mustAd(b, text)
		data, _ := ad.MarshalJSON()
		news, jsons = append(news, ad.String()), append(jsons, string(data))
	}
	run("new", news, ParseAd)
	run("json", jsons, func(s string) (*Ad, error) {
		ad := NewAd()
		return ad, ad.UnmarshalJSON([]byte(s))
	})
}

// BenchmarkEval evaluates what both sides ask, as [Ad.Eval] does: without what Match keeps of an ad.
func BenchmarkEval(b *testing.B) {
	job, all := mustAd(b, readAd(b, "job.ad")), machines(b, 1000)
	for _, tt := range []struct {
		name       string
		attr       string
		my, target func(i int) *Ad
	}{
		{"Requirements", AttrRequirements, func(int) *Ad { return job }, func(i int) *Ad { return all[i] }},
		{"START", "START", func(i int) *Ad { return all[i] }, func(int) *Ad { return job }},
	} {
		b.Run(tt.name+"/machines=1000", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tt.my(i%1000).Eval(tt.attr, tt.target(i%1000))
			}
		})
	}
	b.Run("Requirements×START/machines=1000", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if m := all[i%1000]; job.Eval(AttrRequirements, m).IsTrue() {
				m.Eval(AttrRequirements, job)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	job := mustAd(b, readAd(b, "job.ad"))
	for _, n := range []int{1, 1000, 10000} {
		ads := machines(b, n+1)[1:]
		b.Run(fmt.Sprintf("machines=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				Match(job, ads[i%n])
			}
		})
	}
}

// BenchmarkCold is the first time: the text of both ads is parsed, compiled and matched once.
func BenchmarkCold(b *testing.B) {
	job, base := readAd(b, "job.ad"), readAd(b, "machine.ad")
	var texts []string
	for i := range 100 {
		texts = append(texts, machineText(base, i))
	}
	b.Run("machine", func(b *testing.B) { // the job is known
		b.ReportAllocs()
		j := mustAd(b, job)
		for i := 0; b.Loop(); i++ {
			Match(j, mustAd(b, texts[i%100]))
		}
	})
	b.Run("first-match", func(b *testing.B) { // the machine is parsed, but has never been matched
		b.ReportAllocs()
		j, m := mustAd(b, job), mustAd(b, texts[1])
		for b.Loop() {
			m.touch()
			Match(j, m)
		}
	})
	b.Run("both", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			Match(mustAd(b, job), mustAd(b, texts[i%100]))
		}
	})
}

func BenchmarkFlatten(b *testing.B) {
	job := mustAd(b, readAd(b, "job.ad"))
	e, _ := job.Lookup(AttrRequirements)
	b.ReportAllocs()
	for b.Loop() {
		e.Flatten(job)
	}
}

// BenchmarkMemory reports the heap that an ad takes, after it has been matched.
func BenchmarkMemory(b *testing.B) {
	job := mustAd(b, readAd(b, "job.ad"))
	const n = 2000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		ads := machines(b, n)
		parsed := heap()
		for _, ad := range ads {
			Match(job, ad)
		}
		matched := heap()
		b.ReportMetric(float64(parsed-before)/n, "B/ad")
		b.ReportMetric(float64(matched-before)/n, "B/matched-ad")
		runtime.KeepAlive(ads)
	}
}
