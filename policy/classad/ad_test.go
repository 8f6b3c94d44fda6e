package classad

import (
	"fmt"
	"strings"
	"testing"
)

func TestAdKeepsOrderAndSpelling(t *testing.T) {
	ad := NewAd()
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("Attr%d", i)
		ad.SetInt(name, int64(i))
		want = append(want, name)
	}
	ad.SetInt("aTTR3", 33) // the same attribute, in its old place
	if got := strings.Join(ad.Names(), " "); got != strings.Join(want, " ") {
		t.Errorf("names are %s", got)
	}
	if i, _ := ad.Int("ATTR3"); i != 33 {
		t.Errorf("Attr3 is %d", i)
	}
	for i := range 15 {
		ad.Delete(fmt.Sprintf("attr%d", i))
	}
	if got := strings.Join(ad.Names(), " "); got != "Attr15 Attr16 Attr17 Attr18 Attr19" {
		t.Errorf("after deleting, names are %s", got)
	}
	if i, _ := ad.Int("Attr17"); i != 17 {
		t.Errorf("after deleting, Attr17 is %d", i)
	}
}

func TestChainedAd(t *testing.T) {
	cluster := mustAd(t, "Cmd = \"/bin/sim\"\nSeed = ProcId * 10\nArgs = strcat(\"-s \", Seed)")
	proc := mustAd(t, "ProcId = 3")
	proc.SetParent(cluster)
	if s, _ := proc.Str("Args"); s != "-s 30" {
		t.Errorf("Args is %q, want the cluster's expression over the proc's attributes", s)
	}
	if proc.Len() != 1 || len(proc.Names()) != 1 {
		t.Errorf("the proc has %v of its own", proc.Names())
	}
	proc.Delete("Cmd")
	if v := proc.Eval("Cmd", nil); v.Kind() != Undefined {
		t.Errorf("deleted Cmd is %v", v)
	}
	if _, ok := cluster.Lookup("Cmd"); !ok {
		t.Error("deleting in the proc changed the cluster")
	}
	flat := proc.Flat()
	flat.SetInt("ProcId", 5)
	if s, _ := flat.Str("Args"); s != "-s 50" || flat.Len() != 4 {
		t.Errorf("flat: Args is %q in %v", s, flat)
	}
	if i, _ := proc.Int("ProcId"); i != 3 {
		t.Errorf("changing the flat copy changed the proc: %d", i)
	}
	cluster.SetParent(proc) // would be a circle
	if v := cluster.Eval("Nothing", nil); v.Kind() != Undefined {
		t.Errorf("Nothing is %v", v)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	a := mustAd(t, "a=1\nb=2\nc=3\nd=4\ne=5\nf=6\ng=7\nh=8\ni=9\nj=10")
	c := a.Clone()
	c.Delete("a")
	c.SetInt("z", 1)
	if a.Len() != 10 || a.Eval("a", nil).String() != "1" || a.Eval("z", nil).Kind() != Undefined {
		t.Errorf("changing the clone changed the ad: %v", a)
	}
}

func TestRank(t *testing.T) {
	target := mustAd(t, "KFlops = 5\nName = \"n\"")
	for _, tt := range []struct {
		rank string
		want float64
	}{
		{"TARGET.KFlops * 2", 10}, {"true", 1}, {"2.5", 2.5}, {"TARGET.Name", 0}, {"TARGET.Missing", 0}, {"Rank", 0},
	} {
		if got := Rank(mustAd(t, "Rank = "+tt.rank), target); got != tt.want {
			t.Errorf("Rank = %s: got %g, want %g", tt.rank, got, tt.want)
		}
	}
	if got := Rank(NewAd(), target); got != 0 {
		t.Errorf("without Rank: got %g", got)
	}
}

// Ads that are alike share the table of their names, which must not show.
func TestAdsOfOneShape(t *testing.T) {
	const src = "Name = \"a\"\nArch = \"X86_64\"\nMemory = 5\nRequirements = Memory > 3"
	a, b := mustAd(t, src), mustAd(t, src)
	if a.shape != b.shape {
		t.Error("the ads do not share a shape")
	}
	if got := a.OldString(); got != src+"\n" {
		t.Errorf("the order of the attributes is\n%s", got)
	}
	c := b.Clone()
	b.SetInt("Cpus", 2)
	b.Delete("Name")
	b.SetInt("MEMORY", 6)
	c.SetString("Name", "c")
	if got := a.OldString(); got != src+"\n" {
		t.Errorf("changing another ad made\n%s", got)
	}
	if got, want := b.OldString(), "Arch = \"X86_64\"\nMemory = 6\nRequirements = Memory > 3\nCpus = 2\n"; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if s, _ := c.Str("name"); s != "c" || c.Len() != 4 {
		t.Errorf("the copy is\n%s", c.OldString())
	}
	twice := mustAd(t, "A = 1\nB = 2\na = 3")
	if got := twice.OldString(); got != "A = 3\nB = 2\n" {
		t.Errorf("a name that comes twice:\n%s", got)
	}
}
