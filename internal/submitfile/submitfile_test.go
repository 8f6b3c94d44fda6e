package submitfile

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy/classad"
)

var update = flag.Bool("update", false, "write the golden files anew")

// here is a directory with a program and some data, at /home/anna/run.
func here() Options {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"sim": "#!/bin/sh\n", "a.dat": "a", "b.dat": "b", "in/deep/c.dat": strings.Repeat("c", 5000),
		"table.txt": "1, oak\n2, elm tree\n", "ragged.txt": "1 oak\n2\n", "loop.inc": "include : loop.inc\n", "queue.inc": "queue\n",
		".rc": "", ".skua.1": "", ".cache/x.dat": "x",
	} {
		files[path.Join("home/anna/run", name)] = &fstest.MapFile{Data: []byte(text), Mode: 0o755}
	}
	rel := func(name string) string { return strings.Trim(filepath.ToSlash(name), "/") }
	return Options{
		Dir: "/home/anna/run", User: "anna", FSDomain: "example.test", Seed: 7,
		Environ:  []string{"HOME=/home/anna", "LANG=C", "LC_ALL=C", "TWO=a\nb"},
		ReadFile: func(name string) ([]byte, error) { return fs.ReadFile(files, rel(name)) },
		Stat:     func(name string) (fs.FileInfo, error) { return fs.Stat(files, rel(name)) },
		Glob: func(pattern string) ([]string, error) {
			names, err := fs.Glob(files, rel(pattern))
			for i := range names {
				names[i] = "/" + names[i]
			}
			return names, err
		},
	}
}

func mustExpand(t *testing.T, src string, opts Options) *Submission {
	t.Helper()
	d, err := Parse("job.sub", []byte(src), opts)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := d.Expand(42)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// args are the arguments of every job.
func args(sub *Submission) []string {
	var out []string
	for _, p := range sub.Procs {
		s, ok := p.Ad.Str("Args")
		if !ok {
			s, _ = p.Ad.Str("Arguments")
		}
		out = append(out, s)
	}
	return out
}

func TestJob(t *testing.T) {
	sub := mustExpand(t, "executable = sim\ninput = a.dat\ntransfer_input_files = b.dat, in, http://example.test/x\nlog = $(Cluster).log\nqueue\n", here())
	if len(sub.Procs) != 1 {
		t.Fatalf("%d jobs", len(sub.Procs))
	}
	p := sub.Procs[0]
	if want := (job.ID{Cluster: 42}); p.ID != want {
		t.Errorf("id %v, want %v", p.ID, want)
	}
	if want := []string{"sim", "a.dat", "b.dat", "in"}; !slices.Equal(p.Inputs, want) {
		t.Errorf("inputs %q, want %q", p.Inputs, want)
	}
	for name, want := range map[string]string{
		"Cmd": "/home/anna/run/sim", "Iwd": "/home/anna/run", "UserLog": "/home/anna/run/42.log", "Owner": "anna", "In": "a.dat",
	} {
		if got, _ := p.Ad.Str(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if kb, _ := p.Ad.Int("DiskUsage"); kb != 1+1+1+5 {
		t.Errorf("DiskUsage = %d kB", kb)
	}
	if n := p.Ad.Len(); n != 1 {
		t.Errorf("the only job has %d attributes of its own, %v, want ProcId", n, p.Ad.Names())
	}
}

// However a description writes the environment, the job gets it.
func TestEnvironmentOfTheJob(t *testing.T) {
	for _, line := range []string{
		"environment = \"A=1 B='x y'\"", "environment = A=1; B=x y", "env = A=1; B=x y;", "env = A=1;B=x y", "env = |A=1| B=x y", "env = \"A=1 B='x y'\"",
	} {
		c, err := job.CommandOf(mustExpand(t, "executable = sim\n"+line+"\nqueue\n", here()).Procs[0].Ad)
		if want := []string{"A=1", "B=x y"}; err != nil || !slices.Equal(c.Env, want) {
			t.Errorf("%s\ngives %q (%v), want %q", line, c.Env, err, want)
		}
	}
}

// Patterns of getenv do not bring the places of the desk where somebody submits; names do.
func TestGetenvLeavesTheDesk(t *testing.T) {
	opts := here()
	opts.Environ = []string{"TMPDIR=/home/anna/tmp", "TEMP=/t", "Tmp=/t", "_CONDOR_SCRATCH_DIR=/x", "SKUA_HOME=/home/anna/pool", "TMPL=a", "LANG=C"}
	for _, tt := range []struct{ line, want string }{
		{"getenv = true", "LANG=C TMPL=a"},
		{"getenv = T*, S*, _*", "TMPL=a"},
		{"getenv = !LANG", "TMPL=a"},
		{"getenv = TMPDIR, Skua_Home", "SKUA_HOME=/home/anna/pool TMPDIR=/home/anna/tmp"},
		{"getenv = *, _CONDOR_SCRATCH_DIR", "LANG=C TMPL=a _CONDOR_SCRATCH_DIR=/x"},
		{"getenv = true\nenvironment = TMPDIR=/scratch/t", "LANG=C TMPDIR=/scratch/t TMPL=a"},
	} {
		sub := mustExpand(t, "executable = sim\n"+tt.line+"\nqueue\n", opts)
		if got, _ := sub.Procs[0].Ad.Str("Environment"); got != tt.want {
			t.Errorf("%s\ngives %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestOnlyDifferencesInJobs(t *testing.T) {
	sub := mustExpand(t, "executable = sim\narguments = $(Process)\n+Group = $(Step)\nlog = j.log\nqueue 3\narguments = x\nlog =\nqueue\n", here())
	for i, want := range [][]string{{"Args", "Group", "ProcId"}, {"Args", "Group", "ProcId"}, {"Args", "Group", "ProcId"}, {"Args", "Group", "ProcId", "UserLog"}} {
		got := sub.Procs[i].Ad.Names()
		sort.Strings(got)
		if !slices.Equal(got, want) {
			t.Errorf("job %d has %v of its own, want %v", i, got, want)
		}
	}
	if _, ok := sub.Procs[3].Ad.Str("UserLog"); ok {
		t.Error("the last job has the log of the first ones")
	}
}

func TestQueueForms(t *testing.T) {
	for _, tt := range []struct{ queue, want string }{
		{"queue", "0.||"},
		{"queue 2", "0.|| 1.||"},
		{"queue 1 + 1", "0.|| 1.||"},
		{"queue x in (a b)", "0.a|| 1.b||"},
		{"queue x in a, b", "0.a|| 1.b||"},
		{"QUEUE 2 x IN (a)", "0.a|| 1.a||"},
		{"queue x,y from table.txt", "0.1|oak| 1.2|elm|tree"},
		{"queue x,y,z from (\n1 2 3\n# no\n4,5 , 6 7\n)", "0.1|2|3 1.4|5|,|6|7"},
		{"queue x from (one line)", "0.one|line||"},
		{"queue x matching *.dat", "0.a.dat|| 1.b.dat||"},
		{"queue x matching files *", "0.a.dat|| 1.b.dat|| 2.loop.inc|| 3.queue.inc|| 4.ragged.txt|| 5.sim|| 6.table.txt||"},
		{"queue x matching files .*", "0..rc|| 1..skua.1||"},
		{"queue x matching files */*.dat", ""},
		{"queue x matching files .cache/*.dat", "0..cache/x.dat||"},
		{"queue x matching dirs (i* *.dat)", "0.in/||"},
		{"queue x in [1:] (a b c)", "0.b|| 1.c||"},
		{"queue x in [-1:] (a b c)", "0.c||"},
		{"queue x in [5:9] (a b c)", ""},
		{"queue x in [::9] (a b c)", "0.a||"},
		{"queue 0", ""},
		{"if false\nqueue x in (\n a\n)\nendif\nqueue", "0.||"},
	} {
		opts := here()
		opts.DryRun = true
		sub := mustExpand(t, "executable = sim\narguments = $(Process).$(x)|$(y)|$(z)\n"+tt.queue+"\n", opts)
		if got := strings.Join(args(sub), " "); normal(got) != normal(tt.want) {
			t.Errorf("%s\nqueues %q, want %q", tt.queue, got, tt.want)
		}
	}
}

// normal makes blanks and bars alike, since old arguments squeeze blanks.
func normal(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '|' }), " ")
}

func TestMacros(t *testing.T) {
	for _, tt := range []struct{ lines, want string }{
		{"arguments = $(a:x) $(A)", "x"},
		{"a = 1\na = $(a)2\narguments = $(a)", "12"},
		{"a = $(b:1)\narguments = $(a:$(c:2))", "1"},
		{"arguments = $(a:$(b:$(c:deep)))", "deep"},
		{"n = b\nb = x\narguments = $($(n))", "x"},
		{"arguments = $(date +%s) $x 5$", "$(date +%s) $x 5$"},
		{"arguments = $$(Arch) $(DOLLAR)(x)", "$$(Arch) $(x)"},
		{"arguments = $ENV(HOME) $ENV(NONE:a,b)", "/home/anna a,b"},
		{
			"p = /a/b.c/d.tar.gz\narguments = $Fp(p) $Fd(p) $Fdd(p) $Fn(p) $Fx(p) $Fxb(p) $Fnx(p) $Fdnx(p) $Fqa(p) $Fw(p)",
			`/a/b.c/ b.c/ a/b.c/ d.tar .gz gz d.tar.gz b.c/d.tar.gz '/a/b.c/d.tar.gz' \a\b.c\d.tar.gz`,
		},
		{"p = x/y\narguments = $Ff(p) $DIRNAME(p) $BASENAME(p)", "/home/anna/run/x/y x/ y"},
		{"p = a/b.c\np = $Fn(p).o\narguments = $(p)", "b.o"},
		{"arguments = $INT(2 * 3,%04d) $REAL(1/4.0) $INT(7.9) $REAL(1,%.2f) $INT(255,0x%x)", "0006 0.25 7 1.00 0xff"},
		{"w = abcdef\narguments = $SUBSTR(w,1,2) $SUBSTR(w,-2) $SUBSTR(w,1,-1) $SUBSTR(w,9)", "bc ef bcde"},
		{"arguments = $CHOICE(1,a,b) $STRING(\"q\") $STRING(plain,%-8s). $EVAL(e)\ne = strcat(\"a\", 1)", "b q plain . a1"},
		{"l = u v, w\narguments = $CHOICE(0,l)", "u v"},
		{"a = $(b)\nb = $(c:$(d))\nd = $$(Memory) $(DOLLAR)(x)\narguments = $(a) $(A)", "$$(Memory) $(x) $$(Memory) $(x)"},
		{"a = 1\narguments = $(a$(b)) $(a $(c-d) $(x:y-z) $(date +%s)", "1 $(a $(c-d) $(x:y-z) $(date +%s)"},
		{"arguments = $(YEAR)-$(MONTH) $(SUBMIT_TIME) $(SUBMIT_FILE)", "2023-11 1700000000 job.sub"},
		{"text @=end\na\n # b\n@end\narguments = $(text)", "a"},
		{"if defined x\narguments = 1\nelif ! defined x\narguments = 2\nelse\narguments = 3\nendif", "2"},
		{"if $(none)\narguments = 1\nelif ! $(none)\narguments = 2\nendif", "2"},
		{"x = 5\nif defined $(x)\narguments = 1\nendif", "1"},
		{"x =\nif defined x\narguments = 1\nendif", ""},
		{"if version < 9.0\narguments = 1\nelif version >= 23.9.6 \narguments = 2\nendif", "2"},
		{"if 0\nif nonsense > 3\nendif\nelse\narguments = ok\nendif", "ok"},
		{"include ifexist : none.inc\narguments = x", "x"},
		{"arguments = \"$(x:a b) 'c  d' ''''\"", "a b c'  'd ''''"},
	} {
		opts := here()
		opts.DryRun, opts.Now = true, time.Unix(1_700_000_000, 0).UTC()
		sub := mustExpand(t, "executable = sim\n"+tt.lines+"\nqueue\n", opts)
		if got := args(sub)[0]; got != tt.want {
			t.Errorf("%s\ngives %q, want %q", tt.lines, got, tt.want)
		}
	}
}

func TestRandomMacrosRepeat(t *testing.T) {
	const src = "executable = sim\narguments = $RANDOM_INTEGER(1,1000000) $RANDOM_CHOICE(a,b,c,d)\nenvironment = \"SEED=$RANDOM_INTEGER(0,100000,10)\"\nqueue 50\n"
	first, again := mustExpand(t, src, here()), mustExpand(t, src, here())
	different := map[string]bool{}
	for i := range first.Procs {
		a, b := first.Procs[i].Ad.OldString(), again.Procs[i].Ad.OldString()
		if a != b {
			t.Fatalf("job %d is\n%s\nand then\n%s", i, a, b)
		}
		different[args(first)[i]] = true
	}
	if len(different) < 45 {
		t.Errorf("50 jobs drew only %d different numbers", len(different))
	}
	opts := here()
	opts.Seed++
	if slices.Equal(args(mustExpand(t, src, opts)), args(first)) {
		t.Error("another seed draws the same")
	}
}

// A description that can be executed names a submit command in its first line, and is no script.
func TestExecutableDescription(t *testing.T) {
	for line, want := range map[string]bool{
		"#!/usr/bin/env condor_submit":         true,
		"#!/usr/bin/env skua submit":           true,
		"#!/usr/bin/env -S skua submit --wait": true,
		"#! /opt/skua/bin/skua submit\r":       true,
		"#!/usr/local/bin/condor_submit -q":    true,
		"#!condor_submit":                      true,
		"#!/usr/bin/env python3":               false,
		"#!/usr/bin/env":                       false,
		"#!/bin/sh skua":                       false,
		"#!/usr/bin/env -S":                    false,
		"#!":                                   false,
	} {
		_, err := Parse("job.sub", []byte(line+"\n#SBATCH --mem=4G\nexecutable = sim\nqueue\n"), here())
		if (err == nil) != want {
			t.Errorf("%q: error %v, want a description: %v", line, err, want)
		}
	}
}

func TestCommandLineComesFirst(t *testing.T) {
	opts := here()
	opts.Args = map[string]string{"n": "3", "arguments": "$(n)"}
	if got := args(mustExpand(t, "executable = sim\nqueue\n", opts)); got[0] != "3" {
		t.Errorf("arguments %q", got)
	}
	if got := args(mustExpand(t, "executable = sim\nn = 4\nqueue\n", opts)); got[0] != "4" {
		t.Errorf("arguments %q: the file comes after the command line", got)
	}
}

func TestAppend(t *testing.T) {
	opts := here()
	opts.Append = []string{"n = 5", "batch_name = night"}
	s := mustExpand(t, "executable = sim\nn = 4\narguments = $(n)\nqueue\n", opts)
	if got := args(s); got[0] != "5" {
		t.Errorf("arguments %q: appended lines come after the file's", got)
	}
	if name, _ := s.Cluster.Str("JobBatchName"); name != "night" {
		t.Errorf("batch name %q", name)
	}
	opts.Append = []string{"queue 3"}
	if got := args(mustExpand(t, "executable = sim\n", opts)); len(got) != 3 {
		t.Errorf("%d jobs, want 3", len(got))
	}
	opts.Append, opts.Queue = nil, "arguments in (a b)"
	if got := args(mustExpand(t, "executable = sim\n", opts)); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("arguments %q", got)
	}
	if _, err := Parse("job.sub", []byte("executable = sim\nqueue\n"), opts); err == nil || !strings.Contains(err.Error(), "job.sub:2") {
		t.Errorf("two queue statements: %v", err)
	}
	opts.Append, opts.Queue = []string{"nonsense here"}, ""
	if _, err := Parse("job.sub", []byte("executable = sim\nqueue\n"), opts); err == nil || !strings.HasPrefix(err.Error(), "command line:1") {
		t.Errorf("a bad line: %v", err)
	}
}

func TestAttributes(t *testing.T) {
	for _, tt := range []struct{ line, attr, want string }{
		{"request_memory = 1.5GB", "RequestMemory", "1536"},
		{"request_memory = 2 GB", "RequestMemory", "2048"},
		{"request_memory = 1", "RequestMemory", "1"},
		{"request_disk = 1MB", "RequestDisk", "1024"},
		{"request_memory = undefined", "RequestMemory", ""},
		{"request_licence = 2", "RequestLicence", "2"},
		{"getenv = L*, !LC_*", "Environment", `"LANG=C"`},
		{"getenv = true\nenvironment = LANG=de", "Environment", `"HOME=/home/anna LANG=de LC_ALL=C"`},
		{"environment = \"A='it''s' B=\"\"x\"\"\"", "Environment", `"A=it''''s B=\"x\""`},
		{"output = o.txt\nstream_output = true", "StreamOut", "true"},
		{"kill_sig = 15", "KillSig", `"SIGTERM"`},
		{"kill_sig = sigusr1", "KillSig", `"SIGUSR1"`},
		{"batch_name = \"night run\"", "JobBatchName", `"night run"`},
		{"retry_until = 3", "OnExitRemove", "NumJobCompletions > JobMaxRetries || ExitCode =?= 0 || ExitCode =?= 3"},
		{"retry_until = x ? 1 : 2\nmax_retries = 1", "OnExitRemove", "NumJobCompletions > JobMaxRetries || ExitCode =?= 0 || (x ? 1 : 2)"},
		{"nice_user = true", "AccountingGroup", `"nice-user.anna"`},
		{"job_lease_duration = 5", "JobLeaseDuration", "20"},
		{"job_lease_duration = 0", "JobLeaseDuration", "0"},
		{"restart_after = 3600", "RestartAfter", "3600"},
		{"restart_after = -1", "RestartAfter", "-1"},
		{"+RequestMemory = 9", "RequestMemory", "9"},
		{"+Empty =", "Empty", "undefined"},
		{"p = a/b.c\n+Name = $Fnxq(p)", "Name", `"b.c"`},
		{"when_to_transfer_output = ON_EXIT_OR_EVICT", "ShouldTransferFiles", `"YES"`},
		{"transfer_output_files = \"\"", "TransferOutput", `""`},
		{"checkpoint_exit_code = 85", "SuccessCheckpointExitCode", "85"},
		{"requirements = Cpus > 3", "Requirements", `(Cpus > 3) && (TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.Disk >= RequestDisk) && (TARGET.Memory >= RequestMemory) && ((TARGET.FileSystemDomain == MY.FileSystemDomain) || (TARGET.HasFileTransfer))`},
		{
			"requirements = OpSysAndVer == \"x\" && TARGET.Arch == \"y\" && FileSystemDomain == \"z\"\nrequest_cpus = 2\nshould_transfer_files = NO", "Requirements",
			`(OpSysAndVer == "x" && TARGET.Arch == "y" && FileSystemDomain == "z") && (TARGET.Disk >= RequestDisk) && (TARGET.Memory >= RequestMemory) && (TARGET.Cpus >= RequestCpus)`,
		},
	} {
		sub := mustExpand(t, "executable = sim\n"+tt.line+"\nqueue\n", here())
		got := ""
		if e, ok := sub.Procs[0].Ad.Flat().Lookup(tt.attr); ok {
			got = e.OldString()
		}
		want := tt.want
		if e, err := classad.ParseOldExpr(want); err == nil {
			want = e.OldString()
		}
		if got != want {
			t.Errorf("%s\ngives %s = %s, want %s", tt.line, tt.attr, got, want)
		}
	}
}

// TestProblems keeps what people read when a description is wrong, in testdata/problems.txt.
func TestProblems(t *testing.T) {
	var b strings.Builder
	for _, src := range []string{
		"",
		"executable = sim\n",
		"arguments = 1\nqueue\n",
		"executable = smi\nqueue\n",
		"executable = python3\nqueue\n",
		"executable = sim.$$(OpSys)\nqueue\n",
		"executable = in\nqueue\n",
		"executable = sim\nrequst_memory = 2GB\nqueue\n",
		"executable = sim\nrequest_cpu = 2\nqueue\n",
		"executable = sim\nargumnets = x\nqueue\n",
		"executable = sim\ninput = none.dat\nqueue\n",
		"executable = sim\ntransfer_input_files = a.dat,\\\n c.dat\nqueue\n",
		"executable = sim\ninitialdir = out\nqueue\n",
		"executable sim\nqueue\n",
		"executable: sim\nqueue\n",
		"executable = sim\nqueue three\n",
		"executable = sim\nqueue -1\n",
		"executable = sim\nqueue x from none.txt\n",
		"executable = sim\nqueue x,y from ragged.txt\n",
		"executable = sim\nqueue x in (\n a\n",
		"executable = sim\nqueue 2000000\n",
		"executable = sim\nqueue 1000 x,x in (a)\n",
		"executable = sim\nqueue x from ls |\n",
		"executable = sim\narguments = \"a 'b\"\nqueue\n",
		"executable = sim\narguments = -n \"two words\"\nqueue\n",
		"executable = sim\narguments = \"a\" b\nqueue\n",
		"executable = sim\nenvironment = \"A=1 B\"\nqueue\n",
		"executable = sim\nrequirements = (Memory > 5 &&\nqueue\n",
		"executable = sim\n+Project = my project\nqueue\n",
		"executable = sim\nrequest_memory = 5 Q\nqueue\n",
		"executable = sim\nrequest_cpus = -1\nqueue\n",
		"executable = sim\npriority = high\nqueue\n",
		"executable = sim\nnotification = sometimes\nqueue\n",
		"executable = sim\nkill_sig = SIGNOTHING\nqueue\n",
		"executable = sim\nshould_transfer_files = MAYBE\nqueue\n",
		"executable = sim\nshould_transfer_files = NO\ntransfer_input_files = a.dat\nqueue\n",
		"executable = sim\nwhen_to_transfer_output = LATER\nqueue\n",
		"executable = sim\ntransfer_output_remaps = a=b\nqueue\n",
		"executable = sim\ntransfer_output_remaps = \"b = c; a.dat = https://example.test/a\"\nqueue\n",
		"executable = sim\n+TransferOutputRemaps = \"b = c; a.dat = https://example.test/a\"\nqueue\n",
		"executable = sim\nMY.transferoutputremaps = \"b = c; d\"\nqueue\n",
		"executable = sim\n+TransferOutputRemaps = 3\nqueue\n",
		"executable = sim\n+TransferOutputRemaps = a=b\nqueue\n",
		"executable = sim\nhold = perhaps\nqueue\n",
		"executable = sim\nuniverse = docker\ndocker_image = debian\nqueue\n",
		"executable = sim\nuniverse = container\nqueue\n",
		"executable = sim\nuniverse = grid\nqueue\n",
		"executable = sim\nuniverse = galactic\nqueue\n",
		"executable = sim\nrequest_gpus = 1\nqueue\n",
		"executable = sim\nx509userproxy = p\nqueue\n",
		"executable = sim\na = $(b)\nb = $(c)\nc = $(a)\narguments = $(a)\nqueue\n",
		"executable = sim\narguments = $(a\nqueue\n",
		"executable = sim\nx = abc\narguments = $INT(x)\nqueue\n",
		"executable = sim\narguments = $CHOICE(3,a,b)\nqueue\n",
		"executable = sim\narguments = $INT(1,%s)\nqueue\n",
		"executable = sim\nif $(x) == 1\nendif\nqueue\n",
		"executable = sim\nif true\nqueue\n",
		"executable = sim\nif false\narguments = 7\nqueue\n",
		"executable = sim\nif\nendif\nqueue\n",
		"executable = sim\nelse\nqueue\n",
		"executable = sim\nif $(Cluster)\nendif\nqueue\n",
		"executable = sim\ninclude : none.inc\nqueue\n",
		"executable = sim\ninclude : loop.inc\nqueue\n",
		"executable = sim\ninclude : queue.inc\nqueue\n",
		"executable = sim\nuse template : x\nqueue\n",
		"executable = sim\nrequirements = a && \\\n # why\n b\nqueue\n",
		"executable = sim\ntext @=end\nqueue\n",
		"executable = sim\nerror : not on a Monday\nqueue\n",
		"executable = sim\ncron_minute = 99\nqueue\n",
		"executable = sim\ncron_hour = 22-2\nqueue\n",
		"executable = sim\ndeferral_time = -5\nqueue\n",
		"executable = sim\nconcurrency_limits = a b:x\nqueue\n",
		"executable = sim\n$(x) = 1\nqueue\n",
		"#!/bin/sh\n#SBATCH --mem=4G\n./sim\n",
		"#!/bin/bash\n#SBATCH --job-name=fit\n#SBATCH -c 4 --mem=8G\n#SBATCH --time=02:00:00 -o fit.txt\n#SBATCH --array=1-100\n./sim\n",
		"#!/bin/bash\n#SBATCH -o out/%A_%a.txt -e fit.err\n#SBATCH --array=0-20:5%2\n./sim\n",
		"#!/bin/bash\n#SBATCH -o %j.txt\n#SBATCH --array=1,5\n./sim\n",
		"#!/bin/bash\n#PBS -N fit\n#PBS -l select=1:ncpus=4:mem=8gb,walltime=01:00:00\n#PBS -J 1-10\n./sim\n",
		"#!/bin/sh\n#$ -N fit -cwd\n#$ -pe smp 8\n#$ -l h_vmem=4G,h_rt=3600\n#$ -t 1-5\n./sim\n",
		"#!/bin/sh\n#BSUB -J fit\n#BSUB -n 4 -M 4000\n#BSUB -W 2:00\n./sim\n",
		"#!/usr/bin/env python3\nprint(1)\n",
		"# two steps\n\nJOB A a.sub\nJob B b.sub\nPARENT A CHILD B\n",
		"\x7fELF\x00\x01",
	} {
		d, err := Parse("job.sub", []byte(src), here())
		if err == nil {
			_, err = d.Expand(1)
		}
		if err == nil {
			t.Errorf("accepted:\n%s", src)
			continue
		}
		var p *diag.Problem
		if !errors.As(err, &p) {
			t.Errorf("%v is no problem for people, from:\n%s", err, src)
		}
		fmt.Fprintf(&b, "%s\n", indent(src))
		diag.Print(&b, "skua", err)
		b.WriteString("\n")
	}
	golden := filepath.Join("testdata", "problems.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("what people read has changed; run with -update and read the difference\n%s", b.String())
	}
}

func indent(src string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(fmt.Sprintf("%q", src), "\n"), `\n`, "\n    ")
}

// TestOutputNames: what is not in the job's directory, or is all of it, is refused.
func TestOutputNames(t *testing.T) {
	for _, tt := range []struct {
		names string
		fits  bool
	}{
		{"a", true},
		{"./a, b/", true},
		{"a/../b", true},
		{"..a", true},
		{`""`, true},
		{".", false},
		{"./", false},
		{"a, a/..", false},
		{"../a", false},
		{"a/../../b", false},
		{"/tmp/a", false},
	} {
		d, err := Parse("job.sub", []byte("executable = sim\ntransfer_output_files = "+tt.names+"\nqueue\n"), here())
		if err == nil {
			_, err = d.Expand(42)
		}
		if (err == nil) != tt.fits || err != nil && !strings.HasPrefix(err.Error(), "job.sub:2:") {
			t.Errorf("for transfer_output_files = %s the error is %v, fits: %v", tt.names, err, tt.fits)
		}
	}
}

func TestNotes(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"executable = sim\ncolour = red\nqueue\n", "job.sub:2:10: colour is set and never used"},
		{"executable = sim\noutput = o.$(Proces).out\nqueue 2\n", "job.sub:2:10: $(Proces) has no value and stands for nothing; did you mean $(Process)?"},
		{"executable = sim\nfactor = 2\narguments = $(fact0r) $(Proces:)\nqueue\n", "job.sub:3:13: $(fact0r) has no value and stands for nothing; did you mean $(factor)?"},
		{"executable = sim\narguments = $(whatever)\nqueue\n", "job.sub:2:13: $(whatever) has no value and stands for nothing"},
		{"executable = sim\nqueue x in (a)\n", "job.sub:2: the variable x of the queue statement is never used"},
		{"executable = sim\nqueue x matching *.zip\n", "job.sub:2: the pattern *.zip matches nothing"},
		{"executable = sim\nwant_remote_io = true\nqueue\n", "job.sub:2:18: want_remote_io has no effect: there is no remote system call library"},
		{"executable = sim\nrank = TARGET.Memroy + kflops\nqueue\n", "job.sub:2:8: Memroy is no attribute that is known here; did you mean Memory?"},
		{"executable = sim\nperiodic_release = NumJobStarts < 3 && HoldReasonCdoe == 12\nqueue\n", "job.sub:2:20: HoldReasonCdoe is no attribute that is known here; did you mean HoldReasonCode?"},
		{"executable = sim\non_exit_hold = ExitCdoe =!= 0\nmax_retries = 2\nqueue\n", "job.sub:2:16: ExitCdoe is no attribute that is known here; did you mean ExitCode?"},
		{"executable = sim\nrequest_memory = lots\nqueue\n", "job.sub:2:18: request_memory = lots asks for the value of an attribute lots, which the job does not have; a size is a number such as 2GB"},
	} {
		if sub := mustExpand(t, tt.src, here()); !slices.Contains(sub.Notes, tt.want) {
			t.Errorf("%s\nnotes %q, want %q", tt.src, sub.Notes, tt.want)
		}
	}
}

// TestOwnNamesAreNotDoubted: what the description sets itself is called as it likes.
func TestOwnNamesAreNotDoubted(t *testing.T) {
	for _, src := range []string{
		"executable = sim\n+Memroy = 3\nrank = MY.Memroy + HasMatlab + TARGET.Memory\nqueue\n",
		"executable = sim\nmax_retries = 3\non_exit_hold = ExitBySignal\nperiodic_remove = JobStatus == 5 && CurrentTime - EnteredCurrentStatus > 60\nqueue\n",
		"executable = sim\nrequirements = TARGET.Memroy > 3\nqueue\n", // skua why knows the machines
	} {
		if sub := mustExpand(t, src, here()); len(sub.Notes) > 0 {
			t.Errorf("%s\nnotes %q", src, sub.Notes)
		}
	}
}

func TestDryRunDescribesWhatWouldBeRefused(t *testing.T) {
	opts := here()
	opts.DryRun = true
	sub := mustExpand(t, "executable = sim\ninput = none.dat\nrequest_gpus = 1\nqueue\n", opts)
	if all := strings.Join(sub.Notes, "\n"); !strings.Contains(all, "none.dat") || !strings.Contains(all, "GPUs") {
		t.Errorf("notes:\n%s", all)
	}
}

// TestGrowthIsBounded has descriptions that would grow without end.
func TestGrowthIsBounded(t *testing.T) {
	var double strings.Builder
	double.WriteString("executable = sim\na0 = xxxxxxxxxx\n")
	for i := range 60 {
		fmt.Fprintf(&double, "a%d = $(a%d)$(a%d)\n", i+1, i, i)
	}
	var self, none strings.Builder
	self.WriteString("executable = sim\na = xxxxxxxxxx\n")
	for range 60 {
		self.WriteString("a = $(a)$(a)\n")
	}
	none.WriteString("executable = sim\n")
	for i := range 60 {
		fmt.Fprintf(&none, "e%d = $(e%d)$(e%d)\n", i+1, i, i)
	}
	for name, src := range map[string]string{
		"doubling":          double.String() + "arguments = $(a60)\nqueue\n",
		"doubling itself":   self.String() + "arguments = $(a)\nqueue\n",
		"doubling nothing":  none.String() + "arguments = $(e60)\nqueue\n",
		"deep if":           "executable = sim\n" + strings.Repeat("if true\n", 1000) + "queue\n",
		"long macros":       "executable = sim\nb = x\narguments = " + strings.Repeat("$(b:", 20_000) + strings.Repeat("$(b)", 200_000) + "\nqueue\n",
		"wide format":       "executable = sim\narguments = $INT(1,%0999999999d)\nqueue\n",
		"many queues":       "executable = sim\n" + strings.Repeat("queue 999\n", 1002),
		"long continuation": "executable = sim\narguments = " + strings.Repeat("x \\\n", 1<<20) + "\nqueue\n",
	} {
		if d, err := Parse("job.sub", []byte(src), here()); err == nil {
			if _, err = d.Expand(1); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	}
}

func BenchmarkExpand(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("procs=%d", n), func(b *testing.B) {
			src := fmt.Sprintf("executable = sim\narguments = --seed $(Process)\noutput = out/$(Process).txt\nlog = job.log\nrequest_memory = 1GB\nqueue %d\n", n)
			b.ReportAllocs()
			for b.Loop() {
				d, err := Parse("job.sub", []byte(src), here())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := d.Expand(1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzParse looks for descriptions that crash the parser, or that are expanded differently when they
// are expanded again.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../testdata/conformance/submit/*.sub")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	f.Fuzz(func(t *testing.T, src string) {
		opts := here()
		opts.DryRun = true
		d, err := Parse("job.sub", []byte(src), opts)
		if err != nil || d.Jobs() > 1000 {
			return
		}
		sub, err := d.Expand(1)
		if err != nil {
			return
		}
		if len(sub.Procs) != d.Jobs() {
			t.Fatalf("%d jobs, announced were %d", len(sub.Procs), d.Jobs())
		}
		again, err := d.Expand(1)
		if err != nil || len(again.Procs) != len(sub.Procs) {
			t.Fatalf("the second time: %v", err)
		}
		for i := range sub.Procs {
			if a, b := sub.Procs[i].Ad.Flat().OldString(), again.Procs[i].Ad.Flat().OldString(); a != b {
				t.Fatalf("job %d is\n%s\nand then\n%s", i, a, b)
			}
		}
	})
}

// TestSubmitFromTheTop: names in the root directory have one slash.
func TestSubmitFromTheTop(t *testing.T) {
	d, err := Parse("job.sub", []byte("executable = sim\nlog = sim.log\nqueue\n"), Options{Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Expand(1)
	if err != nil {
		t.Fatal(err)
	}
	ad := s.Procs[0].Ad.Flat()
	log, _ := ad.Str("UserLog")
	cmd, _ := ad.Str("Cmd")
	if log != "/sim.log" || cmd != "/sim" {
		t.Errorf("the log is %s, the program %s", log, cmd)
	}
}
