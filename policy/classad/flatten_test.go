package classad

import (
	"fmt"
	"strings"
	"testing"
)

func TestFlatten(t *testing.T) {
	my := mustAd(t, `[ n = 3; s = "x"; double = n * 2; needs = TARGET.Memory > double; loop = loop + 1;
		list = {n, m}; inner = [ a = n ]; usage = MemoryUsage ?: 5; five = 5; span = relTime(60) ]`)
	for _, tt := range []struct{ src, want string }{
		{"n + 1", "4"},
		{"TARGET.Memory >= double * 1024", "TARGET.Memory >= 6144"},
		{"Memory >= double", "TARGET.Memory >= 6"},
		{"needs && n == 3", "TARGET.Memory > 6"},
		{"n == 4 && TARGET.x", "false"},
		{"n == 3 && TARGET.x", "true && TARGET.x"}, // x may be a number, and the result is not
		{"TARGET.x || n == 3", "TARGET.x || true"}, // x may be an error
		{"n == 3 || TARGET.x", "true"},
		{"n > 5 ? TARGET.a : TARGET.b + 1", "TARGET.b + 1"},
		{"ifThenElse(n > 1, TARGET.a, TARGET.b) == s", `TARGET.a == "x"`},
		{"ifThenElse(TARGET.a =!= undefined, TARGET.a, 2) > n", "(TARGET.a ?: 2) > 3"},
		{"MY.missing =?= undefined", "true"},
		{"loop + TARGET.a", "(loop + 1) + TARGET.a"},
		{"list[0] + inner.a", "{ n, m }[0] + inner.a"},
		{"usage * 2", "(TARGET.MemoryUsage ?: 5) * 2"},
		{"strcat(s, TARGET.Name)", `strcat("x", TARGET.Name)`},
		{"unparse(double)", "unparse(double)"},
		{"time() + n", "time() + 3"},
		{"random(n)", "random(3)"},
		{"span", "relTime(60)"},
		{"absTime(s)", "absTime(s)"}, // the text of a literal would be checked when it is parsed
	} {
		if got := mustParse(t, tt.src).Flatten(my).String(); got != tt.want {
			t.Errorf("%s: flattened to %s, want %s", tt.src, got, tt.want)
		}
	}
	odd := mustAd(t, "[ target = [ n = 1 ]; n = 2 ]")
	if got := mustParse(t, "TARGET.n + n").Flatten(odd).String(); got != "TARGET.n + n" {
		t.Errorf("with an attribute named target: flattened to %s", got)
	}
}

func TestComparison(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{`TARGET.Arch == "X86_64"`, `target Arch == "X86_64"`},
		{"(1024 * 2 <= TARGET.Memory)", "target Memory >= 2048"},
		{"Owner =!= undefined", "my Owner =!= undefined"},
		{"MY.x < -1.5", "my x < -1.500000000000000E+00"},
		{"TARGET.a > TARGET.b", ""},
		{"TARGET.a == {1}", ""},
		{"TARGET.a.b == 1", ""},
		{"TARGET.a + 1 == 1", ""},
		{"CurrentTime > 5", ""},
		{"!TARGET.a", ""},
	} {
		got := ""
		if c, ok := mustParse(t, tt.src).Comparison(); ok {
			side := "my"
			if c.Target {
				side = "target"
			}
			got = fmt.Sprint(side, " ", c.Attr, " ", c.Op, " ", c.Value)
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.src, got, tt.want)
		}
	}
}

// What Match keeps of an ad goes when the ad, or one that it is chained to, changes.
func TestMatchSeesChanges(t *testing.T) {
	cluster := mustAd(t, "RequestMemory = base * 2\nbase = 100\nRequirements = TARGET.Memory >= RequestMemory")
	job := NewAd()
	job.SetParent(cluster)
	grand := NewAd()
	grand.SetParent(job)
	machine := mustAd(t, "Memory = 250\nRequirements = TARGET.RequestMemory < limit\nlimit = 1000")
	expect := func(when string, want bool) {
		t.Helper()
		for _, j := range []*Ad{job, grand} {
			if Match(j, machine) != want || Match(machine, j) != want {
				t.Errorf("%s: match is %v, want %v", when, !want, want)
			}
		}
	}
	expect("at first", true)
	job.SetInt("base", 200)
	expect("the job asks for more", false)
	machine.SetInt("Memory", 500)
	expect("the machine has more", true)
	machine.SetInt("limit", 300)
	expect("the machine allows less", false)
	job.Delete("base")
	expect("the job's base is gone", false)
	job.SetParent(nil)
	expect("there are no requirements", false)
	job.SetParent(cluster)
	job.SetInt("base", 100)
	expect("as at first", true)
	cluster.SetInt("base", 1)
	cluster.SetBool("Requirements", false)
	expect("the cluster wants nothing", false)
}

func TestMatchAllocatesNothing(t *testing.T) {
	job, machine := mustAd(t, readAd(t, "job.ad")), mustAd(t, readAd(t, "machine.ad"))
	if !Match(job, machine) {
		t.Error("the fixtures do not match")
	}
	if n := testing.AllocsPerRun(100, func() { Match(job, machine) }); n > 0 {
		t.Errorf("Match allocates %g times", n)
	}
	for _, src := range []string{
		"TARGET.Memory >= RequestMemory * 2 && Owner != \"x\"",
		`regexp("^desk", TARGET.Machine) || stringListMember("HasMPI", TARGET.StarterAbilityList)`,
		`member(TARGET.Arch, {"X86_64", "AARCH64"})`,
		"ifThenElse(TARGET.KFlops > 5, floor(TARGET.LoadAvg * 10), undefined) ?: 7",
	} {
		e := mustParse(t, src)
		if n := testing.AllocsPerRun(100, func() { e.Eval(job, machine) }); n > 0 {
			t.Errorf("%s allocates %g times", src, n)
		}
	}
}

// An evaluation that is abandoned is never a yes, not even to =!=.
func TestMatchAbandoned(t *testing.T) {
	machine := mustAd(t, "loop = loop + 1\nRequirements = true")
	for _, src := range []string{"TARGET.loop =!= 5", "isError(TARGET.loop)", "5 =!= (TARGET.loop ?: 1)", "TARGET.x =!= TARGET.loop"} {
		job := mustAd(t, "Requirements = "+src)
		if Match(job, machine) || job.Eval(AttrRequirements, machine).IsTrue() {
			t.Errorf("%s: a match", src)
		}
	}
}

// Requirements that exclude thousands of machines by name are written by people.
func TestLongRequirements(t *testing.T) {
	var b strings.Builder
	b.WriteString("Requirements = TARGET.Memory > 5")
	for i := range maxHeight - 10 {
		fmt.Fprintf(&b, " && Machine != \"desk%d\"", i)
	}
	job := mustAd(t, b.String())
	machine := mustAd(t, "Memory = 6\nMachine = \"desk\"\nRequirements = true")
	if !Match(job, machine) {
		t.Error("no match")
	}
	machine.SetString("Machine", "desk77")
	if Match(job, machine) {
		t.Error("a match with an excluded machine")
	}
	e, _ := job.Lookup(AttrRequirements)
	if n := len(e.Flatten(job).Conjuncts()); n != maxHeight-9 {
		t.Errorf("%d conjuncts", n)
	}
}
