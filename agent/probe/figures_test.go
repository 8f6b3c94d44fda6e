package probe

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// The benchmarks compute what they are known to compute: else their speed would say nothing.
func TestDhrystoneResult(t *testing.T) {
	const runs = 1000
	d := newDhry()
	r := d.run(runs)
	for _, tt := range []struct {
		name      string
		got, want int
	}{ // as the benchmark itself says that they should be
		{"Int_Glob", d.integer, 5},
		{"Arr_1_Glob[8]", d.arr1[8], 7},
		{"Arr_2_Glob[8][7]", d.arr2[8][7], runs + 10},
		{"Ptr_Glob->Int_Comp", d.glob.integer, 17},
		{"Next_Ptr_Glob->Int_Comp", d.nextGlob.integer, 18},
		{"Next_Ptr_Glob->Enum_Comp", int(d.nextGlob.enum), 1},
		{"Ptr_Glob->Enum_Comp", int(d.glob.enum), 2},
		{"Int_1_Loc", r.int1, 5},
		{"Int_2_Loc", r.int2, 13},
		{"Int_3_Loc", r.int3, 7},
		{"Enum_Loc", int(r.enum), 1},
		{"Ch_1_Glob", int(d.ch1), 'A'},
		{"Ch_2_Glob", int(d.ch2), 'B'},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	if !d.boolean {
		t.Error("Bool_Glob is not 1")
	}
	if got := string(r.str2[:]); got != "DHRYSTONE PROGRAM, 2'ND STRING" {
		t.Errorf("Str_2_Loc is %q", got)
	}
	if got := string(d.nextGlob.contents[:]); got != "DHRYSTONE PROGRAM, SOME STRING" {
		t.Errorf("Next_Ptr_Glob->Str_Comp is %q", got)
	}
}

func TestLinpackResult(t *testing.T) {
	m := make([][]float64, linpackSize)
	for i := range m {
		m[i] = make([]float64, linpackSize)
	}
	b, pivots := make([]float64, linpackSize), make([]int, linpackSize)
	fillSystem(m, b)
	factor(m, pivots)
	solve(m, pivots, b)
	for i, x := range b {
		if math.Abs(x-1) > 1e-10 {
			t.Fatalf("x[%d] is %v, want 1", i, x)
		}
	}
}

func TestFiguresAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures.json")
	if _, err := LoadFigures(path); !errors.Is(err, ErrNoFigures) {
		t.Errorf("before any: %v", err)
	}
	want := Figures{Mips: 20000, KFlops: 2000000}
	if err := SaveFigures(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadFigures(path); got != want || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseFigures(kept, "another processor"); !errors.Is(err, ErrNoFigures) {
		t.Errorf("of another processor: %+v, %v", got, err)
	}
	for _, text := range []string{"", "{}", `{"v":1}`, `{"v":2,"cpu":"x","mips":1,"kflops":1}`, `{"v":1,"cpu":"x","mips":-1,"kflops":1}`} {
		if got, err := parseFigures([]byte(text), "x"); !errors.Is(err, ErrNoFigures) {
			t.Errorf("%q gives %+v, %v", text, got, err)
		}
	}
}

func TestMeasure(t *testing.T) {
	f := Measure()
	t.Logf("%+v", f)
	if f.Mips <= 0 || f.KFlops <= 0 {
		t.Errorf("measured %+v", f)
	}
}

func FuzzParseFigures(f *testing.F) {
	f.Add([]byte(`{"v":1,"cpu":"x","mips":1,"kflops":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseFigures(b, "x"); err == nil && (got.Mips <= 0 || got.KFlops <= 0) {
			t.Errorf("%q gives %+v", b, got)
		}
	})
}
