package job

import (
	"encoding/json"
	"testing"

	"skua/internal/fit"
	"skua/policy/classad"
)

const testLibc = "/usr/lib/x86_64-linux-gnu/libc.so.6"

// TestImageRequirements: what an image needs, asked of machines by their ads.
func TestImageRequirements(t *testing.T) {
	needs := fit.Needs{
		Features: []string{"avx", "avx2", "sse2"},
		Files:    []fit.File{{Path: testLibc, ID: "58254ca972028402/1922136"}, {Path: "/usr/share/words", ID: "?/12"}},
	}
	const base = `TARGET.HasCheckpointing && TARGET.Arch == "X86_64"`
	const good = "HasCheckpointing = true\nArch = \"X86_64\"\nCpuFeatures = \"aes,avx,avx2,sse2\"\n"
	libc := fit.Attr(testLibc)
	for _, tt := range []struct {
		name    string
		image   Image
		machine string
		fits    bool
	}{
		{"the same", Image{Needs: base, Fit: &needs}, good + libc + ` = "58254ca972028402/1922136"`, true},
		{"another C library", Image{Needs: base, Fit: &needs}, good + libc + ` = "68254ca972028402/1922136"`, false},
		{"a C library of another size", Image{Needs: base, Fit: &needs}, good + libc + ` = "58254ca972028402/1922137"`, false},
		{"no such C library", Image{Needs: base, Fit: &needs}, good + libc + ` = "absent"`, false},
		{"a C library nobody has asked for", Image{Needs: base, Fit: &needs}, good, true},
		{"a processor with less", Image{Needs: base, Fit: &needs}, good + "CpuFeatures = \"avx,sse2\"", false},
		{"a processor that does not tell", Image{Needs: base, Fit: &needs}, "HasCheckpointing = true\nArch = \"X86_64\"", false},
		{"another architecture", Image{Needs: base, Fit: &needs}, good + "Arch = \"aarch64\"", false},
		{"no checkpoints there", Image{Needs: base, Fit: &needs}, good + "HasCheckpointing = false", false},
		{"an image of before", Image{Needs: base}, good, true},
		{"an image of before, elsewhere", Image{Needs: base}, good + "Arch = \"aarch64\"", false},
		{"a job's own files", Image{Kind: FileImage}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &Job{Ad: classad.NewAd(), State: Idle, Images: []Image{tt.image}}
			machine, err := classad.ParseOldAd(tt.machine)
			if err != nil {
				t.Fatal(err)
			}
			ad := j.CurrentAd()
			e, ok := ad.Lookup(fit.AttrRequirements)
			if got := !ok || e.Eval(ad, machine).IsTrue(); got != tt.fits {
				t.Errorf("fits: %v, by %v", got, e)
			}
			if again, _ := j.CurrentAd().Lookup(fit.AttrRequirements); again != e {
				t.Error("the expression is parsed anew each time")
			}
		})
	}
}

// The ad tells what the image needs, and nothing once there is no image.
func TestAdTellsNeeds(t *testing.T) {
	needs := fit.Needs{Features: []string{"avx"}, Files: []fit.File{{Path: testLibc, ID: "58254ca972028402/1922136"}}}
	j := &Job{Ad: classad.NewAd(), Images: []Image{{Kind: CRIUImage, Fit: &needs}, {Kind: CRIUImage}}}
	if got, _ := j.CurrentAd().Str(fit.AttrJobFeatures); got != "avx" {
		t.Errorf("%s is %q", fit.AttrJobFeatures, got)
	}
	if got, _ := j.CurrentAd().Str(fit.AttrJobFiles); got != testLibc+"=58254ca972028402/1922136" {
		t.Errorf("%s is %q", fit.AttrJobFiles, got)
	}
	j.Images = nil
	for _, name := range []string{fit.AttrJobFeatures, fit.AttrJobFiles, fit.AttrRequirements} {
		if e, ok := j.CurrentAd().Lookup(name); ok {
			t.Errorf("without an image %s is %v", name, e)
		}
	}
}

// Whatever passes the check makes an expression, and fits the machine that has just that.
func FuzzImageNeeds(f *testing.F) {
	f.Add([]byte(`{"features":["avx"],"files":[{"path":"` + testLibc + `","id":"58254ca972028402/1922136"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var n fit.Needs
		if json.Unmarshal(b, &n) != nil || n.Check() != nil {
			return
		}
		text := n.Expr()
		if text == "" {
			return
		}
		e, err := classad.ParseExpr(text)
		if err != nil {
			t.Fatalf("%v: %v", n, err)
		}
		own, machine := classad.NewAd(), classad.NewAd()
		own.SetString(fit.AttrJobFeatures, fit.FeatureList(n.Features))
		machine.SetString(fit.AttrFeatures, fit.FeatureList(n.Features))
		taken := map[string]fit.ID{}
		for _, file := range n.Files {
			name := fit.Attr(file.Path)
			if other, ok := taken[name]; ok && other != file.ID {
				return // two files that no ad can tell apart
			}
			taken[name] = file.ID
			machine.SetString(name, string(file.ID))
		}
		if !e.Eval(own, machine).IsTrue() {
			t.Errorf("%s is not true of a machine that has all of it", text)
		}
	})
}
