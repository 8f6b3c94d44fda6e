package negotiate

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/why"
	"skua/policy"
	"skua/policy/classad"
)

var update = flag.Bool("update", false, "write the golden files anew")

// desk is a slot of a machine with a desktop's policy, or that of hours if there are any, whose owner has
// been away for an hour. attrs change what its machine says.
func desk(t testing.TB, name string, status Status, hours, attrs string) Slot {
	t.Helper()
	var file policy.File
	if hours != "" {
		var span policy.Span
		if err := span.UnmarshalText([]byte(hours)); err != nil {
			t.Fatal(err)
		}
		file.Hours.Run = []policy.Span{span}
	}
	p, err := policy.Derive(file)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := classad.ParseOldAd(`
OpSys = "LINUX"
Arch = "X86_64"
TotalCpus = 4
TotalMemory = 8000
TotalDisk = 100000000
HasFileTransfer = true
KeyboardIdle = 3600
LoadAvg = 0.05
SkuaLoadAvg = 0.0
` + attrs)
	if err != nil {
		t.Fatal(err)
	}
	ad := p.SlotAd(facts, 1).Flat()
	ad.SetString("Name", "slot1@"+name)
	ad.SetString("Machine", name)
	ad.SetString("State", map[Status]string{Free: "Unclaimed", Resting: "Unclaimed", Claimed: "Claimed", Owner: "Owner"}[status])
	ad.SetInt("EnteredCurrentActivity", noon.Add(-time.Hour).Unix())
	policy.SetClock(ad, noon)
	return Slot{Name: "slot1@" + name, Agent: job.AgentID("a-" + name), Machine: name, Status: status, Ad: ad}
}

// desks makes so many of them, with numbered names.
func desks(t testing.TB, n int, name string, status Status, hours, attrs string) []Slot {
	t.Helper()
	var all []Slot
	for i := range n {
		all = append(all, desk(t, fmt.Sprintf("%s%d", name, i+1), status, hours, attrs))
	}
	return all
}

// submitted is a job of ann as condor_submit describes it, with attrs in place of what it says.
func submitted(t testing.TB, attrs string) *job.Job {
	t.Helper()
	ad, err := classad.ParseOldAd(`
Cmd = "/home/ann/sim"
JobPrio = 0
RequestCpus = 1
RequestMemory = 1024
RequestDisk = 1024
Rank = 0.0
Requirements = (TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.Disk >= RequestDisk) && (TARGET.Memory >= RequestMemory) && (TARGET.HasFileTransfer)
`)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := classad.ParseOldAd(attrs)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range changes.Names() {
		e, _ := changes.Lookup(name)
		ad.Set(name, e)
	}
	return &job.Job{
		ID: job.ID{Cluster: 12}, User: "u1", Owner: "ann", Ad: ad, State: job.Idle,
		Entered: noon.Add(-time.Hour), Submitted: noon.Add(-time.Hour),
	}
}

// imageNeeds gives a job an image with such needs.
func imageNeeds(features, files string) func(*job.Job) {
	return func(j *job.Job) {
		j.Images = []job.Image{{
			Kind: job.CRIUImage, At: noon.Add(-time.Hour), Needs: "TARGET.Arch == \"X86_64\"",
			Fit: &fit.Needs{Features: fit.ParseFeatures(features), Files: fit.ParseFiles(files)},
		}}
	}
}

// claimAll gives the claimed slots to a user.
func claimAll(slots []Slot, user job.UserID, limits string) []Claim {
	var all []Claim
	for i, s := range slots {
		if s.Status == Claimed {
			all = append(all, Claim{Job: job.ID{Cluster: 7, Proc: i}, User: user, Agent: s.Agent, Slot: s.Name, Limits: limits})
		}
	}
	return all
}

// TestExplain stages what keeps jobs waiting. The first line of each golden file is the answer.
func TestExplain(t *testing.T) {
	names := map[job.UserID]string{"u1": "ann", "u2": "bob", "u3": "eve"}
	changed := func(j *job.Job, f func(j *job.Job)) *job.Job {
		f(j)
		return j
	}
	running := func(j *job.Job) {
		j.State, j.Starts = job.Running, 1
		j.Claim = &job.Claim{Slot: "slot1@desk1", Machine: "desk1", Started: true}
		j.Started, j.LastStart, j.Entered = noon.Add(-50*time.Minute), noon.Add(-50*time.Minute), noon.Add(-50*time.Minute)
	}
	held := func(code, sub int, reason string) func(*job.Job) {
		return func(j *job.Job) {
			j.State, j.HoldCode, j.HoldSubCode, j.HoldReason = job.Held, code, sub, reason
			j.Entered = noon.Add(-10 * time.Minute)
		}
	}
	bobs := desks(t, 3, "desk", Claimed, "", "")
	for _, tt := range []struct {
		name  string
		job   *job.Job
		slots []Slot
		with  func(*Snapshot)
	}{
		{
			name:  "no machine has the memory",
			job:   submitted(t, "RequestMemory = 16384"),
			slots: append(desks(t, 3, "big", Free, "", "TotalMemory = 16000"), desks(t, 9, "desk", Owner, "", "")...),
		},
		{
			name: "one clause excludes all",
			job: submitted(t, `Requirements = (TARGET.OpSys == "LINUX") && TARGET.HasMatlab && (TARGET.Memory >= RequestMemory)
RequestMemory = 3000`),
			slots: append(desks(t, 3, "desk", Free, "", ""), desks(t, 2, "win", Free, "", `OpSys = "WINDOWS"`)...),
		},
		{
			name:  "a size that is none",
			job:   submitted(t, "Requirements = TARGET.OpSys == \"LINUX\" && TARGET.Memory >= RequestMemory\nRequestMemory = lots"),
			slots: desks(t, 2, "desk", Free, "", ""),
		},
		{
			name:  "two clauses exclude all",
			job:   submitted(t, `Requirements = TARGET.HasMatlab && (TARGET.Room == "B204") && (TARGET.Memory >= RequestMemory)`),
			slots: append(desks(t, 2, "desk", Free, "", `Room = "B101"`), desk(t, "other", Free, "", "")),
		},
		{
			name:  "each clause holds somewhere",
			job:   submitted(t, `Requirements = TARGET.HasMatlab && (TARGET.Memory >= RequestMemory)`+"\nRequestMemory = 6000"),
			slots: append(desks(t, 2, "desk", Free, "", "HasMatlab = true"), desk(t, "big", Free, "", "TotalMemory = 32000")),
		},
		{
			name:  "in use by owners",
			job:   submitted(t, ""),
			slots: desks(t, 3, "desk", Owner, "", "KeyboardIdle = 5"),
		},
		{
			name: "two paused and one kept busy",
			job:  submitted(t, ""),
			slots: []Slot{
				desk(t, "desk1", Owner, "", fmt.Sprintf("PausedUntil = %d\nSTART = false", noon.Add(time.Hour).Unix())),
				desk(t, "desk2", Owner, "", fmt.Sprintf("PausedUntil = %d\nSTART = false", noon.Add(2*time.Hour).Unix())),
				desk(t, "desk3", Owner, "", "KeyboardIdle = 5\nLoadAvg = 8.75\nSkuaLoadAvg = 0.15"), desk(t, "desk4", Owner, "", "LoadAvg = 8.75\nSkuaLoadAvg = 0.15"),
			},
		},
		{
			name:  "policy hours",
			job:   submitted(t, ""),
			slots: desks(t, 3, "desk", Owner, "Mon-Fri 19:00-07:00", ""),
		},
		{
			name: "hours and owners",
			job:  submitted(t, ""),
			slots: append(append(desks(t, 3, "night", Owner, "Sat-Sun", ""), desks(t, 2, "desk", Owner, "", "KeyboardIdle = 5")...),
				desk(t, "broken", Owner, "", "CanRunJobs = false\nCannotRunJobsReason = \"no user namespaces\"")),
		},
		{
			name:  "share used up",
			job:   submitted(t, ""),
			slots: bobs,
			with: func(s *Snapshot) {
				s.Claims = claimAll(bobs, "u2", "")
				s.Accounts = map[job.UserID]Account{
					"u1": {Priority: 12.5, At: noon}, "u2": {Priority: 1.5, InUse: 3, At: noon}, "u3": {Priority: 40, At: noon},
				}
			},
		},
		{
			name:  "others are behind",
			job:   submitted(t, ""),
			slots: bobs,
			with: func(s *Snapshot) {
				s.Claims = claimAll(bobs, "u2", "")
				s.Accounts = map[job.UserID]Account{"u2": {Priority: 100, InUse: 3, At: noon}}
			},
		},
		{
			name:  "limit full",
			job:   submitted(t, `ConcurrencyLimits = "matlab"`),
			slots: append(desks(t, 2, "desk", Claimed, "", ""), desks(t, 2, "free", Free, "", "")...),
			with: func(s *Snapshot) {
				s.Limits = map[string]float64{"matlab": 2}
				s.Claims = claimAll(s.Slots, "u2", "matlab")
			},
		},
		{
			name:  "held by the user",
			job:   changed(submitted(t, ""), held(job.HoldByUser, 0, "ann asked for it")),
			slots: desks(t, 1, "desk", Free, "", ""),
		},
		{
			name:  "held for memory",
			job:   changed(submitted(t, "MemoryUsage = 1500"), held(job.HoldOutOfResources, 102, "1.5 GB in use, 1.0 GB asked for")),
			slots: desks(t, 1, "desk", Free, "", ""),
		},
		{
			name: "deferred",
			job:  submitted(t, fmt.Sprintf("DeferralTime = %d\nDeferralPrepTime = 300", noon.Add(7*time.Hour).Unix())),
			with: func(s *Snapshot) { s.Jobs[0].NotBefore = noon.Add(7*time.Hour - 300*time.Second) },

			slots: desks(t, 1, "desk", Free, "", ""),
		},
		{
			name: "tried again soon",
			job: changed(submitted(t, ""), func(j *job.Job) {
				j.Starts, j.LastReason, j.LastHost = 1, "it exited with code 1: retry 1 of 3", "slot1@desk1"
			}),
			with:  func(s *Snapshot) { s.Jobs[0].NotBefore = noon.Add(8 * time.Second) },
			slots: desks(t, 1, "desk", Free, "", ""),
		},
		{
			name: "suspended",
			job: changed(changed(submitted(t, ""), running), func(j *job.Job) {
				j.State, j.Entered, j.LastReason = job.Suspended, noon.Add(-5*time.Minute), "the owner came back"
			}),
			slots: desks(t, 1, "desk", Claimed, "", ""),
		},
		{
			name: "checkpoint fits nowhere",
			job: changed(submitted(t, `CheckpointRequirements = TARGET.CriuVersion == "4.2.1" && TARGET.CpuFamily == 6`), func(j *job.Job) {
				j.Images = []job.Image{{Kind: job.CRIUImage, At: noon.Add(-time.Hour)}}
				j.Evictions, j.LastReason, j.LastHost = 2, "the owner came back", "slot1@lab3"
			}),
			slots: append(desks(t, 2, "desk", Free, "", "CriuVersion = \"3.17\"\nCpuFamily = 6"), desk(t, "win", Free, "", `OpSys = "WINDOWS"`)),
		},
		{
			name: "processors lack what its checkpoint needs",
			job:  changed(submitted(t, ""), imageNeeds("aes,avx,avx2,avx512dq,avx512f", "")),
			slots: append(desks(t, 3, "desk", Free, "", `CpuFeatures = "aes,avx,avx2"`),
				desk(t, "new", Free, "", `CpuFeatures = "aes,avx,avx2,avx512f"`), desk(t, "win", Free, "", `OpSys = "WINDOWS"`)),
		},
		{
			name: "systems lack what its checkpoint needs",
			job: changed(submitted(t, ""), imageNeeds("aes",
				"/usr/lib/libc.so.6=0123456789abcdef/1900000,/usr/lib/libm.so.6=0123456789abcdef/900000,/usr/lib/libz.so.1=0123456789abcdef/100000")),
			slots: append(desks(t, 2, "desk", Free, "", "CpuFeatures = \"aes\"\nFile_usr_lib_libc_so_6 = \"fedcba9876543210/1900000\"\n"+
				"File_usr_lib_libm_so_6 = \"absent\"\nFile_usr_lib_libz_so_1 = \"0123456789abcdef/100000\""),
				desk(t, "old", Free, "", "CpuFeatures = \"sse2\"\nFile_usr_lib_libz_so_1 = \"0123456789abcdef/100000\"")),
		},
		{
			name: "its checkpoint has failed on one machine and fits another not",
			job: changed(changed(submitted(t, ""), imageNeeds("aes", "")), func(j *job.Job) {
				j.Images[0].Failed = []string{"DESK2", "gone"}
			}),
			slots: append(desks(t, 2, "desk", Free, "", `CpuFeatures = "aes"`), desk(t, "old", Free, "", `CpuFeatures = "sse2"`))[1:],
		},
		{
			name: "owners are in the way and what its checkpoint needs",
			job:  changed(submitted(t, ""), imageNeeds("aes,avx2", "/usr/lib/ld-linux-x86-64.so.2=0123456789abcdef/200000,/usr/lib/libc.so.6=0123456789abcdef/1900000")),
			slots: []Slot{
				desk(t, "alike", Owner, "", `CpuFeatures = "aes,avx2"`),
				desk(t, "masked", Free, "", `CpuFeatures = "aes"`),
				desk(t, "newer", Free, "", "CpuFeatures = \"aes,avx2\"\nFile_usr_lib_libc_so_6 = \"fedcba9876543210/1900000\"\nFile_usr_lib_ld_linux_x86_64_so_2 = \"fedcba9876543210/200000\""),
			},
		},
		{
			name:  "input missing",
			job:   changed(submitted(t, ""), held(job.HoldTransferInput, 2, "https://data.example.org/set1.csv: not found")),
			slots: desks(t, 1, "desk", Free, "", ""),
		},
		{
			name: "too little left",
			job:  submitted(t, "RequestCpus = 3\nRequestMemory = 3000"),
			slots: append(
				[]Slot{
					partedDesk(t, "desk1", Free, policy.Parts{Cpus: 3, Memory: 1500}, 2),
					partedDesk(t, "desk2", Free, policy.Parts{Cpus: 2, Memory: 1000}, 2),
					partedDesk(t, "desk3", Owner, policy.Parts{Cpus: 2, Memory: 1000}, 2), desk(t, "small", Free, "", "TotalCpus = 2"),
				},
				dynamicDesks(t, "desk2", policy.Parts{Cpus: 1, Memory: 500, Disk: 1024}, 2)...),
			with: func(s *Snapshot) {
				for _, name := range []string{"slot1_1@desk1", "slot1_2@desk1", "slot1_1@desk2", "slot1_2@desk2"} {
					_, machine, _ := strings.Cut(name, "@")
					s.Claims = append(s.Claims, Claim{Job: job.ID{Cluster: 7, Proc: len(s.Claims)}, User: "u2", Agent: job.AgentID("a-" + machine), Slot: name})
				}
			},
		},
		{
			name:  "more than a partitionable machine has",
			job:   submitted(t, "RequestCpus = 3\nRequestMemory = 30000"),
			slots: []Slot{partedDesk(t, "desk1", Free, policy.Parts{Cpus: 3, Memory: 1500}, 2), partedDesk(t, "desk2", Free, policy.Parts{}, 0)},
		},
		{
			name: "running",
			job:  changed(submitted(t, ""), running),
		},
		{
			name: "offered",
			job: changed(changed(submitted(t, ""), running), func(j *job.Job) {
				j.State, j.Claim.Started = job.Idle, false
			}),
		},
		{
			name:  "about to run",
			job:   submitted(t, ""),
			slots: desks(t, 1, "desk", Free, "", ""),
		},
		{
			name: "empty pool",
			job:  submitted(t, ""),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Snapshot{Now: noon, Slots: tt.slots, Names: names}
			if tt.job.State == job.Idle && tt.job.Claim == nil {
				s.Jobs = []Batch{{
					Cluster: tt.job.ID.Cluster, Procs: []Range{{0, 1}}, User: tt.job.User, Ad: tt.job.CurrentAd(),
				}}
			}
			if tt.with != nil {
				tt.with(&s)
			}
			e := roundTrip(t, Explain(s, tt.job))
			text := e.Sentence(time.UTC) + "\n\n" + strings.Join(e.Details(time.UTC), "\n") + "\n"
			file := "testdata/why/" + strings.ReplaceAll(tt.name, " ", "-") + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("got\n%s\nwant\n%s", text, want)
			}
			if tt.job.State == job.Idle && len(s.Jobs) > 0 {
				checkChanges(t, s, tt.job, e.Changes)
			}
		})
	}
}

// roundTrip sends the explanation as the matchmaker does.
func roundTrip(t testing.TB, e *why.Explanation) *why.Explanation {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	back := new(why.Explanation)
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, e) {
		t.Errorf("sent %+v, received %+v", e, back)
	}
	return back
}

// checkChanges makes each proposed change in the job's ad and counts the machines that match then.
func checkChanges(t *testing.T, s Snapshot, j *job.Job, changes []why.Change) {
	t.Helper()
	for _, c := range changes {
		ad := j.CurrentAd().Flat()
		requirements, _ := ad.Lookup(classad.AttrRequirements)
		var left []string
		for _, clause := range requirements.Conjuncts() {
			text := clause.String()
			for _, e := range c.Edits {
				if e.Drop == text {
					text = e.With
				}
			}
			if text != "" {
				left = append(left, "("+text+")")
			}
		}
		e, err := classad.ParseExpr(strings.Join(append(left, "true"), " && "))
		if err != nil {
			t.Fatal(err)
		}
		ad.Set(classad.AttrRequirements, e)
		for _, e := range c.Edits {
			if e.Set != "" {
				ad.SetReal(e.Set, e.To)
			}
		}
		// On a pool in which nobody is in the way.
		machines := map[string]bool{}
		for _, sl := range s.Slots {
			quiet := sl.Ad.Clone()
			if parts, _ := sl.Ad.Bool(policy.AttrPartitionable); parts {
				quiet = policy.Emptied(sl.Ad)
			}
			if sl.Status == Owner || sl.Status == Claimed {
				quiet.SetBool("START", true)
			}
			if classad.Match(ad, quiet) {
				machines[sl.Machine] = true
			}
		}
		if len(machines) != c.Matches || c.Matches == 0 {
			t.Errorf("%v: %d machines match, said were %d", c, len(machines), c.Matches)
		}
	}
}

// TestChangesMatch: what is proposed, once done, matches as many machines as was said.
func TestChangesMatch(t *testing.T) {
	proposed := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := Snapshot{Now: noon}
		for i := range 1 + r.IntN(8) {
			s.Slots = append(s.Slots, desk(t, fmt.Sprint("m", i), Status(r.IntN(4)), "", fmt.Sprintf(
				"TotalMemory = %d\nTotalCpus = %d\nTotalDisk = %d\nRoom = %d\nHasMatlab = %v\nFast = %d",
				1000+r.IntN(32000), 1+r.IntN(8), 1000000+r.IntN(100000000), r.IntN(3), r.IntN(2) == 0, r.IntN(10))))
		}
		j := submitted(t, fmt.Sprintf("RequestMemory = %d\nRequestCpus = %d\nRequestDisk = %d\nRequirements = %s",
			r.IntN(40000), 1+r.IntN(8), r.IntN(50000000),
			[]string{
				"(TARGET.Memory >= RequestMemory) && (TARGET.Disk >= RequestDisk)",
				"(TARGET.Memory >= RequestMemory) && TARGET.HasMatlab && (TARGET.Room == 2 || TARGET.Room == 1)",
				"TARGET.Fast > 7 && TARGET.Room == 0 && TARGET.Memory > 12000",
				`TARGET.HasMatlab && TARGET.OpSys == "WINDOWS" && TARGET.Fast >= 5.5`,
				"true",
			}[r.IntN(5)]))
		e := Explain(s, j)
		checkChanges(t, s, j, e.Changes)
		proposed += len(e.Changes)
		if e.Waiting != nil && e.Waiting.Short != nil && e.Waiting.Short.Matches > 0 && len(e.Changes) == 0 {
			t.Errorf("seed %d: %s, but no change is proposed", seed, e.Sentence(time.UTC))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if proposed < 100 {
		t.Errorf("only %d changes were proposed in all", proposed)
	}
}
