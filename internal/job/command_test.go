package job_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

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
			func(c job.Command) bool {
				return slices.Equal(c.Argv, []string{"./sim"}) && c.Stop == job.Stop{Signal: 15} && c.CPUs == 1
			},
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
			func(c job.Command) bool { return c.SelfCheckpoint && c.CheckpointExit == 85 && c.Stop.Signal == 10 },
		},
		{
			"a job that wants to be asked before it goes", "Cmd = \"x\"\nRemoveKillSig = \"SIGINT\"\nHoldKillSig = 1\nKillSigTimeout = 20",
			func(c job.Command) bool {
				return c.Stop == job.Stop{Signal: 15, Removed: 2, Held: 1, Wait: 20 * time.Second}
			},
		},
		{
			"graceful removal by the ordinary signal", "Cmd = \"x\"\nKillSig = \"SIGINT\"\nWantGracefulRemoval = true\nJobMaxVacateTime = 60 + 30\nKillSigTimeout = 20",
			func(c job.Command) bool {
				return c.Stop == job.Stop{Signal: 2, Asked: true, Removed: 2, Wait: 90 * time.Second}
			},
		},
		{
			"limits of its own", "Cmd = \"x\"\nCoreSize = -1\nStackSize = 65536\nRequestCpus = 4",
			func(c job.Command) bool { return c.Core == -1 && c.Stack == 65536 && c.CPUs == 4 },
		},
		{
			"files that are not transferred", "Cmd = \"bin/sim\"\nIwd = \"/srv/data\"\nShouldTransferFiles = \"NO\"\nIn = \"in.txt\"",
			func(c job.Command) bool {
				return c.Dir == "/srv/data" && c.Argv[0] == "/srv/data/bin/sim" && c.Stdin == "/srv/data/in.txt"
			},
		},
		{
			"no word about its files", "Cmd = \"x\"",
			func(c job.Command) bool {
				return reflect.DeepEqual(c.Transfers, job.Transfers{Out: true, Err: true, MaxIn: -1, MaxOut: -1})
			},
		},
		{
			"files, with bounds and URLs", `Cmd = "x"
TransferInput = "a.dat, https://example.org/b.dat,C://c,S3://bucket/d"
TransferErr = false
WhenToTransferOutput = "ON_SUCCESS"
JobSuccessExitCode = 2
MaxTransferInputMB = 1.5
MaxTransferOutputMB = -1`,
			func(c job.Command) bool {
				return reflect.DeepEqual(c.Transfers, job.Transfers{
					URLs: []string{"https://example.org/b.dat", "C://c", "S3://bucket/d"}, Out: true, OnSuccess: true, SuccessExit: 2,
					MaxIn: 3 << 19, MaxOut: -1,
				})
			},
		},
		{
			"files that go with a job that is evicted", "Cmd = \"x\"\nWhenToTransferOutput = \"ON_EXIT_OR_EVICT\"\nEraseOutputAndErrorOnRestart = false",
			func(c job.Command) bool { return c.Transfers.OnEvict && c.Transfers.KeepStreams },
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

// The old form of an environment is separated by a delimiter of the job's, by ; or by the ends of lines.
func TestOldEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env, delim string
		want       []string
	}{
		{"A=1; B=x y ;;\tC=a|b;", ";", []string{"A=1", "B=x y ", "C=a|b"}},
		{"A=1;\n B=2\n\nC=\n", "", []string{"A=1", "B=2", "C="}},
		{"A=1;2| B=2", "|", []string{"A=1;2", "B=2"}},
		{"|A=1;2|B=2|", ";", []string{"A=1;2", "B=2"}},
		{"; ", ";", nil},
		{"", "", nil},
	} {
		ad := parse(t, `Cmd = "x"`)
		ad.SetString("Env", tt.env)
		if tt.delim != "" {
			ad.SetString("EnvDelim", tt.delim)
		}
		if c, err := job.CommandOf(ad); err != nil || !slices.Equal(c.Env, tt.want) {
			t.Errorf("%q with the delimiter %q gives %q (%v), want %q", tt.env, tt.delim, c.Env, err, tt.want)
		}
	}
}

func TestCommandOfRefuses(t *testing.T) {
	for _, ad := range []string{
		`Iwd = "/"`,
		"Cmd = \"x\"\nArguments = \"'open\"",
		"Cmd = \"x\"\nEnvironment = \"NOVALUE\"",
		"Cmd = \"x\"\nEnv = \"A=1;NOVALUE\"",
		"Cmd = \"x\"\nKillSig = \"SIGNOSUCH\"",
		"Cmd = \"x\"\nShouldTransferFiles = \"NO\"",
		"Cmd = \"x\"\nHoldKillSig = \"SIGNOSUCH\"",
	} {
		if c, err := job.CommandOf(parse(t, ad)); err == nil {
			t.Errorf("%q gave %+v", ad, c)
		}
	}
}

// Whatever a job's ad says, what is made of it is bounded and complete.
func FuzzCommandOf(f *testing.F) {
	f.Add("Cmd = \"x\"\nArguments = \"a 'b c'\"\nKillSigTimeout = 99999999999999\nMaxTransferInputMB = 1e300")
	f.Add("Cmd = \"x\"\nShouldTransferFiles = \"NO\"\nIwd = \"/srv\"\nTransferInput = \"a,http://b/c\"\nHoldKillSig = 64")
	f.Add("Cmd = \"x\"\nEnv = \"|A=1| B=2;\"\nEnvDelim = \"|\"")
	f.Fuzz(func(t *testing.T, src string) {
		ad, err := classad.ParseOldAd(src)
		if err != nil {
			return
		}
		c, err := job.CommandOf(ad)
		if err != nil {
			return
		}
		if len(c.Argv) == 0 || c.CPUs < 1 || c.Stack < 0 || c.Stop.Wait < 0 || c.Stop.Signal < 1 || c.Stop.Signal > 64 ||
			c.Transfers.MaxIn < -1 || c.Transfers.MaxOut < -1 {
			t.Errorf("%q gave %+v", src, c)
		}
	})
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
