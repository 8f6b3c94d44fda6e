package job_test

import (
	"strings"
	"testing"

	"skua/internal/job"
	"skua/policy/classad"
)

const filledMachine = `OpSys = "WINDOWS"
Arch = "X86_64"
Memory = 7000
Cpus = 2
Half = TARGET.RequestMemory / 2
Tricky = "$$(Arch)"`

func TestFilled(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"nothing to fill in", "a $(b) $c $$ d", "a $(b) $c $$ d"},
		{"an attribute of the machine", "./sim.$$(OpSys)", "./sim.WINDOWS"},
		{"several, in any case", "$$(opsys)-$$(ARCH)", "WINDOWS-X86_64"},
		{"a number", "-m $$(Memory)", "-m 7000"},
		{"one that asks the job", "$$(Half)", "512"},
		{"a default that is not needed", "$$(OpSys:none)", "WINDOWS"},
		{"a default", "$$(HasMatlab:no such thing)", "no such thing"},
		{"an empty default", "<$$(HasMatlab:)>", "<>"},
		{"an expression", `$$([TARGET.OpSys == \"WINDOWS\" ? \"a\" : \"b\"])`, "a"},
		{"one over the job", "seed $$([ClusterId % 10])", "seed 7"},
		{"over both", "$$([Cpus * ClusterId])", "74"},
		{"parentheses in it", `$$([strcat(\"x\", string(Cpus))])`, "x2"},
		{"what it gives is not read again", "$$(Tricky)", "$$(Arch)"},
		{"dollars", "$$(DOLLARDOLLAR)(OpSys)", "$$(OpSys)"},
		{"a shell's process id", "echo $$; kill $$(jobs -p)", "echo $$; kill $$(jobs -p)"},
		{"not closed", "$$(OpSys", "$$(OpSys"},
	} {
		ad := parse(t, "Cmd = \"x\"\nClusterId = 37\nRequestMemory = 1024\nArguments = \""+tt.value+"\"")
		before, _ := ad.Str("Arguments")
		asked := 0
		got, err := job.Filled(ad, func() *classad.Ad { asked++; return parse(t, filledMachine) })
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if text, _ := got.Str("Arguments"); text != tt.want {
			t.Errorf("%s: %q gave %q, want %q", tt.name, tt.value, text, tt.want)
		}
		if text, _ := ad.Str("Arguments"); text != before {
			t.Errorf("%s: the job's own ad has become %q", tt.name, text)
		}
		if asked > 1 || asked == 1 != strings.Contains(tt.value, "$$(") {
			t.Errorf("%s: the machine's ad was asked for %d times", tt.name, asked)
		}
	}
}

func TestFilledEverywhere(t *testing.T) {
	ad := parse(t, `Cmd = "./p.$$(OpSys)"
TransferExecutable = false
Environment = "ON=$$(OpSys)"
TransferInput = "a,https://example.org/$$(Arch).tar"
Out = "$$(OpSys).out"`)
	got, err := job.Filled(ad, func() *classad.Ad { return parse(t, filledMachine) })
	if err != nil {
		t.Fatal(err)
	}
	c, err := job.CommandOf(got)
	if err != nil || c.Argv[0] != "./p.WINDOWS" || c.Env[0] != "ON=WINDOWS" || len(c.Transfers.URLs) != 1 || c.Transfers.URLs[0] != "https://example.org/X86_64.tar" {
		t.Errorf("the command is %+v (%v)", c, err)
	}
	if out, _ := got.Str("Out"); out != "$$(OpSys).out" {
		t.Errorf("a name on the user's side is %q", out)
	}
}

func TestFilledRefuses(t *testing.T) {
	for _, tt := range []struct{ value, says string }{
		{"$$(HasMatlab)", "the machine has no HasMatlab"},
		{"$$([HasMatlab])", "has no value"},
		{"$$([1 / 0])", "has no value"},
		{"$$([1 +])", "$$([1 +])"},
		{"$$([1 + 2)", "not closed"},
		{strings.Repeat("$$([repeatedly])", 3), "has no value"},
	} {
		ad := parse(t, "Cmd = \"x\"\nArguments = \""+tt.value+"\"")
		got, err := job.Filled(ad, func() *classad.Ad { return parse(t, filledMachine) })
		if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "Arguments") {
			t.Errorf("%q gave %v (%v)", tt.value, got, err)
		}
	}
}

// Whatever stands in a job's ad, what is made of it is bounded, and done in one pass.
func FuzzFilled(f *testing.F) {
	f.Add("a $$(OpSys) $$(no:default) $$([Cpus + 1]) $$(DOLLARDOLLAR)", "x")
	f.Add("$$([strcat(Tricky, Tricky)])", "$$(OpSys")
	f.Fuzz(func(t *testing.T, arguments, tricky string) {
		ad, machine := classad.NewAd(), classad.NewAd()
		ad.SetString("Arguments", arguments)
		machine.SetString("OpSys", "LINUX")
		machine.SetString("Tricky", tricky)
		got, err := job.Filled(ad, func() *classad.Ad { return machine })
		if err != nil {
			return
		}
		text, ok := got.Str("Arguments")
		if !ok || len(text) > 1<<20+len(arguments) || !strings.Contains(arguments, "$$(") && text != arguments {
			t.Errorf("%q gave %d bytes", arguments, len(text))
		}
	})
}
