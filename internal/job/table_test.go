package job_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/policy/classad"
)

// sweep makes what differs between n jobs, as a description would that uses $(Process).
func sweep(n int) (procs []*classad.Ad, inputs [][]job.File) {
	program := job.File{Name: "sim", Size: 70_000, Mode: 0o755, Digest: blob.Sum([]byte("sim"))}
	for i := range n {
		ad := classad.NewAd()
		ad.SetInt("ProcId", int64(i))
		ad.SetString("Args", fmt.Sprint(i))
		ad.SetString("Out", fmt.Sprintf("out.%d", i))
		ad.SetBool("StreamOut", false)
		procs = append(procs, ad)
		inputs = append(inputs, []job.File{program, {Name: "in", Size: 2, Mode: 0o644, Inline: []byte(fmt.Sprintf("%02d", i%100))}})
	}
	return procs, inputs
}

func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	exprs := []string{
		`17`, `-3`, `9223372036854775807`, `2.5`, `true`, `false`, `undefined`, `"plain"`, `"quote \" and \\ and \n"`, `""`,
		`strcat("out.", ClusterId, ".1")`, `strcat("", ClusterId, "/", ClusterId, "")`, `strcat("a", ProcId, "b")`, `strcat("a\\b", ClusterId, "c")`,
		`ProcId * 3`, `{ 1, "two" }`, `[ a = 1 ]`, `TARGET.Memory > 100 && RequestMemory < 3`, `ClusterId`,
	}
	files := make([]job.File, 20)
	for i := range files {
		files[i] = job.File{Name: fmt.Sprint("f", i), Size: 3, Mode: 0o644, Inline: []byte("abc")}
		if i%2 == 0 {
			files[i] = job.File{Name: fmt.Sprint("f", i), Size: int64(i) << 30, Mode: 0o755, Digest: blob.Sum([]byte{byte(i)})}
		}
	}
	for _, rows := range []int{1, 2, 1024, 1025, 5000} {
		var procs, want []*classad.Ad
		var inputs [][]job.File
		common := classad.NewAd()
		common.SetString("Cmd", "sim")
		common.SetInt("Same", 3)
		for i := range rows {
			ad := classad.NewAd()
			ad.SetInt("ProcId", int64(i))
			ad.SetString("Same", "same")
			for _, name := range []string{"Args", "Out", "Sometimes", "cmd"} {
				if name == "Args" || name == "Out" || rng.IntN(3) == 0 {
					e, err := classad.ParseExpr(exprs[rng.IntN(len(exprs))])
					if err != nil {
						t.Fatal(err)
					}
					ad.Set(name, e)
				}
			}
			ad.SetParent(common)
			procs, want = append(procs, ad), append(want, ad.Flat())
			var list []job.File
			for range rng.IntN(3) {
				list = append(list, files[rng.IntN(len(files))])
			}
			inputs = append(inputs, list)
		}
		data, err := job.EncodeTable(common, procs, inputs)
		if err != nil {
			t.Fatal(err)
		}
		table, err := job.ReadTable(data)
		if err != nil {
			t.Fatal(err)
		}
		if table.Len() != rows {
			t.Fatalf("%d rows came back as %d", rows, table.Len())
		}
		for i := range rows {
			got := table.Ad(i, 7, common)
			got.SetInt("ProcId", int64(i))
			if err := sameAd(got, want[i]); err != nil {
				t.Errorf("row %d of %d: %v", i, rows, err)
			}
			if !reflect.DeepEqual(table.Inputs(i), inputs[i]) {
				t.Errorf("row %d of %d: inputs are %v, want %v", i, rows, table.Inputs(i), inputs[i])
			}
		}
	}
}

// sameAd compares by name and by what the expressions give in cluster 7.
func sameAd(got, want *classad.Ad) error {
	for _, ad := range []*classad.Ad{got, want} {
		ad.SetInt("ClusterId", 7)
	}
	flat := got.Flat()
	if flat.Len() != want.Len() {
		return fmt.Errorf("it has the attributes %v, want %v", flat.Names(), want.Names())
	}
	for _, name := range want.Names() {
		a, b := got.Eval(name, nil).String(), want.Eval(name, nil).String()
		if a != b {
			return fmt.Errorf("%s is %s, want %s", name, a, b)
		}
		e, _ := flat.Lookup(name)
		f, _ := want.Lookup(name)
		if e.String() != f.String() && !strings.HasPrefix(f.String(), "strcat") {
			return fmt.Errorf("%s is %s, want %s", name, e, f)
		}
	}
	return nil
}

// TestTableIsSmall: what is needed of a job in a queue of many is some bytes.
func TestTableIsSmall(t *testing.T) {
	const rows = 100_000
	procs, inputs := sweep(rows)
	data, err := job.EncodeTable(classad.NewAd(), procs, inputs)
	if err != nil {
		t.Fatal(err)
	}
	if perRow := float64(len(data)) / rows; perRow > 10 {
		t.Errorf("a row takes %.1f bytes", perRow)
	}
}

// TestReadTableRefuses: whatever is changed in a table, it is read or refused, and a lie about how much there is
// does not take memory.
func TestReadTableRefuses(t *testing.T) {
	procs, inputs := sweep(3000)
	data, err := job.EncodeTable(classad.NewAd(), procs, inputs)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(data) {
		if _, err := job.ReadTable(data[:n]); err == nil {
			t.Fatalf("%d bytes of %d were taken for a table", n, len(data))
		}
		if n > 200 {
			break
		}
	}
	if _, err := job.ReadTable(append(bytes.Clone(data), 0)); err == nil {
		t.Error("a table with something behind it was taken")
	}
	if _, err := job.ReadTable([]byte("skua table 2\n")); err == nil {
		t.Error("a table of version 2 was taken")
	}
	lie := append([]byte("skua table 1\n"), 0xff, 0xff, 0x3c, 1, 1, 'A')
	for _, tail := range [][]byte{
		{0xff, 0xff, 0xff, 0xff, 0x0f},                // blocks
		{1, 0x80, 0x08, 0xff, 0xff, 0x0d, 1, 0, 0},    // a large block of little
		{1, 1, 1, 0xff, 0xff, 0x0d, 0, 0x28, 0xb5, 2}, // more stored than there is
	} {
		if _, err := job.ReadTable(append(bytes.Clone(lie), tail...)); err == nil {
			t.Errorf("% x was taken for a table", tail)
		}
	}
}

// TestTableOfNothing: a table that is small as encoded must not come to more work than a large one.
func TestTableOfNothing(t *testing.T) {
	blank := classad.NewAd()
	blank.SetString("Blank", strings.Repeat(" ", 100_000))
	other := classad.NewAd()
	other.SetString("Blank", strings.Repeat(" ", 100_001))
	procs := []*classad.Ad{other}
	for range 2000 {
		procs = append(procs, blank)
	}
	if _, err := job.EncodeTable(classad.NewAd(), procs, nil); err == nil || !strings.Contains(err.Error(), "may come to") {
		t.Errorf("200 MB of blanks gave %v", err)
	}
	procs = procs[:0]
	for i := range 300 {
		ad := classad.NewAd()
		e, err := classad.ParseExpr(fmt.Sprintf(`size("%s") + %d`, strings.Repeat("y", 80_000), i))
		if err != nil {
			t.Fatal(err)
		}
		ad.Set("Sum", e)
		procs = append(procs, ad)
	}
	data, err := job.EncodeTable(classad.NewAd(), procs, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := job.ReadTable(data); err == nil || !strings.Contains(err.Error(), "expressions") {
		t.Errorf("24 MB of expressions gave %v", err)
	}
}

func FuzzReadTable(f *testing.F) {
	for _, n := range []int{1, 3, 1500} {
		procs, inputs := sweep(n)
		procs[0].SetString("Extra", "x")
		data, err := job.EncodeTable(classad.NewAd(), procs, inputs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := job.ReadTable(data)
		if err != nil {
			return
		}
		parent := classad.NewAd()
		var procs []*classad.Ad
		var inputs [][]job.File
		for row := range min(table.Len(), 100) {
			procs, inputs = append(procs, table.Ad(row, 1, parent)), append(inputs, table.Inputs(row))
		}
		again, err := job.EncodeTable(classad.NewAd(), procs, inputs)
		if err != nil {
			return // of files whose digests are none, and rows beyond the bound
		}
		if _, err := job.ReadTable(again); err != nil {
			t.Errorf("what was made of a table is none: %v", err)
		}
	})
}

func BenchmarkEncodeTable(b *testing.B) {
	procs, inputs := sweep(100_000)
	for b.Loop() {
		if _, err := job.EncodeTable(classad.NewAd(), procs, inputs); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadTable(b *testing.B) {
	procs, inputs := sweep(100_000)
	data, err := job.EncodeTable(classad.NewAd(), procs, inputs)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := job.ReadTable(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ads", func(b *testing.B) {
		table, err := job.ReadTable(data)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			for row := range table.Len() {
				table.Ad(row, 1, nil)
			}
		}
	})
	b.ReportMetric(float64(len(data))/100_000, "bytes/row")
}
