package job_test

import (
	"slices"
	"testing"

	"skua/internal/job"
	"skua/policy/classad"
)

func TestCommandOf(t *testing.T) {
	for _, tt := range []struct {
		name, ad string
		check    func(job.Command) bool
	}{
		{
			"a transferred executable runs from scratch", `Cmd = "/home/ada/sim"`,
			func(c job.Command) bool { return slices.Equal(c.Argv, []string{"./sim"}) && c.StopSignal == 15 },
		},
		{
			"one that stays where it is", "Cmd = \"/usr/bin/python3\"\nTransferExecutable = false\nArgs = \"a  b\"",
			func(c job.Command) bool { return slices.Equal(c.Argv, []string{"/usr/bin/python3", "a", "b"}) },
		},
		{
			"new arguments keep their blanks", "Cmd = \"x\"\nArguments = \"'a b' it''s 'it''s'\"",
			func(c job.Command) bool { return slices.Equal(c.Argv, []string{"./x", "a b", "its", "it's"}) },
		},
		{
			"environment", "Cmd = \"x\"\nEnvironment = \"A=1 B='x y'\"",
			func(c job.Command) bool { return slices.Equal(c.Env, []string{"A=1", "B=x y"}) },
		},
		{
			"both streams in one file", "Cmd = \"x\"\nOut = \"log\"\nErr = \"log\"",
			func(c job.Command) bool { return c.Stdout == c.Stderr },
		},
		{
			"a job that saves itself", "Cmd = \"x\"\nSuccessCheckpointExitCode = 85\nKillSig = \"SIGUSR1\"",
			func(c job.Command) bool { return c.SelfCheckpoint && c.CheckpointExit == 85 && c.StopSignal == 10 },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := job.CommandOf(parse(t, tt.ad))
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(c) {
				t.Errorf("the command is %+v", c)
			}
		})
	}
}

func TestCommandOfRefuses(t *testing.T) {
	for _, ad := range []string{
		`Iwd = "/"`,
		"Cmd = \"x\"\nArguments = \"'open\"",
		"Cmd = \"x\"\nEnvironment = \"NOVALUE\"",
		"Cmd = \"x\"\nKillSig = \"SIGNOSUCH\"",
	} {
		if c, err := job.CommandOf(parse(t, ad)); err == nil {
			t.Errorf("%q gave %+v", ad, c)
		}
	}
}

func FuzzSplitArgs(f *testing.F) {
	f.Add("a 'b c' d''e")
	f.Fuzz(func(t *testing.T, s string) {
		if args, err := job.SplitArgs(s); err == nil && len(args) > len(s) {
			t.Errorf("%q gave %d arguments", s, len(args))
		}
	})
}

func parse(t *testing.T, src string) *classad.Ad {
	t.Helper()
	ad, err := classad.ParseOldAd(src)
	if err != nil {
		t.Fatal(err)
	}
	return ad
}
