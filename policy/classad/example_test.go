package classad_test

import (
	"fmt"

	"skua/policy/classad"
)

func Example() {
	job, err := classad.ParseOldAd(`
Owner = "mira"
RequestMemory = 2048
Requirements = TARGET.OpSys == "LINUX" && TARGET.Memory >= RequestMemory
Rank = TARGET.KFlops`)
	if err != nil {
		fmt.Println(err)
		return
	}
	machine, err := classad.ParseAd(`[
		OpSys = "LINUX"; Memory = 8192; KFlops = 1500000; KeyboardIdle = 1200;
		Requirements = KeyboardIdle > 15 * 60 && TARGET.Owner != "guest" ]`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(classad.Match(job, machine), classad.Rank(job, machine))
	// Output: true 1.5e+06
}

func ExampleExpr_Eval() {
	my := classad.NewAd()
	my.SetInt("Cpus", 4)
	for _, src := range []string{`Cpus * 2`, `Gpus > 0`, `Gpus > 0 || Cpus > 2`, `Gpus ?: 0`, `Cpus == "four"`} {
		e, err := classad.ParseExpr(src)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(e, "->", e.Eval(my, nil))
	}
	// Output:
	// Cpus * 2 -> 8
	// Gpus > 0 -> undefined
	// Gpus > 0 || Cpus > 2 -> true
	// Gpus ?: 0 -> 0
	// Cpus == "four" -> error
}

func ExampleSyntaxError() {
	_, err := classad.ParseExpr("TARGET.Memory >= && Cpus > 1")
	fmt.Println(err)
	fmt.Println(err.(*classad.SyntaxError).Caret())
	// Output:
	// 1:18: unexpected && where a value should be
	// TARGET.Memory >= && Cpus > 1
	//                  ^
}

func ExampleExpr_References() {
	e, _ := classad.ParseExpr(`TARGET.Arch == "X86_64" && TARGET.Memory >= RequestMemory`)
	refs := e.References()
	fmt.Println(refs.My, refs.Target)
	for _, c := range e.Conjuncts() {
		fmt.Println(c)
	}
	// Output:
	// [RequestMemory] [Arch Memory]
	// TARGET.Arch == "X86_64"
	// TARGET.Memory >= RequestMemory
}

func ExampleExpr_Flatten() {
	job, _ := classad.ParseOldAd(`
RequestMemory = 2 * 1024
Requirements = TARGET.OpSys == "LINUX" && TARGET.Memory >= RequestMemory && regexp("^gpu", TARGET.Name)`)
	requirements, _ := job.Lookup("Requirements")
	for _, c := range requirements.Flatten(job).Conjuncts() {
		if cmp, ok := c.Comparison(); ok {
			fmt.Println("an index can answer", cmp.Attr, cmp.Op, cmp.Value)
		} else {
			fmt.Println("still to be evaluated:", c)
		}
	}
	// Output:
	// an index can answer OpSys == "LINUX"
	// an index can answer Memory >= 2048
	// still to be evaluated: regexp("^gpu", TARGET.Name)
}
