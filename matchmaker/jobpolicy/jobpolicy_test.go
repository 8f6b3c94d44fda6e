package jobpolicy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// noon is a Monday.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// jobAd is the ad of a job from lines in the old syntax. @-120 stands for two minutes before noon.
func jobAd(t testing.TB, lines string) *classad.Ad {
	t.Helper()
	for {
		before, rest, ok := strings.Cut(lines, "@")
		if !ok {
			break
		}
		var offset int64
		if _, err := fmt.Sscanf(rest, "%d", &offset); err != nil {
			t.Fatalf("@%s: %v", rest, err)
		}
		_, after, more := strings.Cut(rest, "\n")
		lines = before + fmt.Sprint(noon.Unix()+offset)
		if more {
			lines += "\n" + after
		}
	}
	ad, err := classad.ParseOldAd(lines)
	if err != nil {
		t.Fatal(err)
	}
	return ad
}

func TestPeriodic(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state job.State
		ad    string
		want  Verdict
	}{
		{"no policy", job.Running, "NumJobStarts = 9", Verdict{}},
		{
			"hold", job.Running, "PeriodicHold = NumJobStarts > 5\nNumJobStarts = 6",
			Verdict{Hold, "the job's periodic_hold became true: NumJobStarts > 5", 3, 0},
		},
		{
			"hold with a reason", job.Idle, "PeriodicHold = NumJobStarts > 5\nNumJobStarts = 6\nPeriodicHoldReason = strcat(\"started \", NumJobStarts)\nPeriodicHoldSubCode = 12",
			Verdict{Hold, "started 6", 3, 12},
		},
		{
			"a reason that has no value", job.Idle, "PeriodicHold = true\nPeriodicHoldReason = Nothing\nPeriodicHoldSubCode = \"x\"",
			Verdict{Hold, "the job's periodic_hold became true: true", 3, 0},
		},
		{"a number counts as true", job.Idle, "PeriodicHold = 1", Verdict{Hold, "the job's periodic_hold became true: 1", 3, 0}},
		{"undefined does nothing", job.Running, "PeriodicHold = NoSuchThing > 5\nPeriodicRemove = NoSuchThing\nPeriodicVacate = error", Verdict{}},
		{"a held job is not held again", job.Held, "PeriodicHold = true\nHoldReasonCode = 3", Verdict{}},
		{
			"release", job.Held, "PeriodicRelease = NumHolds < 3\nNumHolds = 1\nHoldReasonCode = 13",
			Verdict{Action: Release, Reason: "the job's periodic_release became true: NumHolds < 3"},
		},
		{"what its user holds stays held", job.Held, "PeriodicRelease = true\nHoldReasonCode = 1", Verdict{}},
		{"what the pool holds stays held", job.Held, "PeriodicRelease = true\nHoldReasonCode = 26", Verdict{}},
		{"a job that is not held is not released", job.Idle, "PeriodicRelease = true", Verdict{}},
		{
			"release comes before remove", job.Held, "PeriodicRelease = true\nPeriodicRemove = true\nHoldReasonCode = 3",
			Verdict{Action: Release, Reason: "the job's periodic_release became true: true"},
		},
		{
			"a job that its user holds can be removed", job.Held, "PeriodicRelease = true\nPeriodicRemove = true\nHoldReasonCode = 1",
			Verdict{Action: Remove, Reason: "the job's periodic_remove became true: true"},
		},
		{
			"hold comes before remove", job.Idle, "PeriodicHold = true\nPeriodicRemove = true",
			Verdict{Hold, "the job's periodic_hold became true: true", 3, 0},
		},
		{
			"vacate comes before hold", job.Running, "PeriodicHold = true\nPeriodicVacate = true\nPeriodicVacateReason = \"enough\"",
			Verdict{Action: Vacate, Reason: "enough"},
		},
		{"only a job that runs is vacated", job.Idle, "PeriodicVacate = true", Verdict{}},
		{"ended jobs are left alone", job.Completed, "PeriodicRemove = true\nPeriodicHold = true", Verdict{}},
		{
			"timer", job.Held, "TimerRemove = @-1\nHoldReasonCode = 1",
			Verdict{Action: Remove, Reason: fmt.Sprint("the job's TimerRemove has passed: ", noon.Unix()-1)},
		},
		{"timer to come", job.Idle, "TimerRemove = @0", Verdict{}},
		{"timer that is none", job.Idle, "TimerRemove = Never", Verdict{Hold, "the job's TimerRemove is not a time: Never", 5, 0}},
		{
			"job duration", job.Running, "AllowedJobDuration = 3600\nJobCurrentStartDate = @-3600",
			Verdict{Hold, "the job exceeded its allowed_job_duration of 1h0m0s", 46, 0},
		},
		{"job duration not over", job.Running, "AllowedJobDuration = 3600\nJobCurrentStartDate = @-3599", Verdict{}},
		{"job duration of an idle job", job.Idle, "AllowedJobDuration = 3600\nJobCurrentStartDate = @-9999", Verdict{}},
		{
			"suspended time counts", job.Suspended, "AllowedJobDuration = 3600\nJobCurrentStartDate = @-3600",
			Verdict{Hold, "the job exceeded its allowed_job_duration of 1h0m0s", 46, 0},
		},
		{
			"execute duration", job.Running, "AllowedExecuteDuration = 60\nJobCurrentStartDate = @-90\nJobCurrentStartExecutingDate = @-60",
			Verdict{Hold, "the job exceeded its allowed_execute_duration of 1m0s", 47, 0},
		},
		{"execution has not begun", job.Running, "AllowedExecuteDuration = 60\nJobCurrentStartDate = @-90", Verdict{}},
		{"execution of the run before", job.Running, "AllowedExecuteDuration = 60\nJobCurrentStartDate = @-10\nJobCurrentStartExecutingDate = @-90", Verdict{}},
		{
			"a checkpoint begins it again", job.Running,
			"AllowedExecuteDuration = 60\nJobCurrentStartDate = @-300\nJobCurrentStartExecutingDate = @-290\nLastCkptTime = @-30",
			Verdict{},
		},
		{"a duration that is none", job.Running, "AllowedJobDuration = Long\nJobCurrentStartDate = @-9999", Verdict{}},
		{
			"missed", job.Idle, "DeferralTime = @-61\nDeferralWindow = 60",
			Verdict{Hold, "no machine could start the job at its deferral_time 1772452739 (2026-03-02 11:58:59 UTC), nor within its deferral_window of 60 s after it", 20, 0},
		},
		{"a time to start that is none", job.Idle, "DeferralTime = Nothing + 60", Verdict{Hold, "its deferral_time is not a time: Nothing + 60", 5, 0}},
		{"that is none while it runs", job.Running, "DeferralTime = \"noon\"", Verdict{}},
		{"none at all", job.Idle, "DeferralTime = undefined", Verdict{}},
		{"not missed while it runs", job.Running, "DeferralTime = @-61\nDeferralWindow = 60", Verdict{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Periodic(jobAd(t, tt.ad), noon, tt.state); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestDue: what Due announces happens then, and not before.
func TestDue(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state job.State
		ad    string
		want  int // seconds from noon; 0 for never
	}{
		{"nothing", job.Running, "PeriodicHold = NumJobStarts > 5", 0},
		{"job duration", job.Running, "AllowedJobDuration = 100\nJobCurrentStartDate = @-40", 60},
		{"the earlier one", job.Running, "AllowedJobDuration = 100\nJobCurrentStartDate = @-40\nAllowedExecuteDuration = 10\nJobCurrentStartExecutingDate = @-5", 5},
		{"not while idle", job.Idle, "AllowedJobDuration = 100\nJobCurrentStartDate = @-40", 0},
		{"timer", job.Held, "TimerRemove = @30", 31},
		{"deferral: to be offered", job.Idle, "DeferralTime = @1000\nDeferralPrepTime = 300", 700},
		{"deferral: missed", job.Idle, "DeferralTime = @100\nDeferralWindow = 10", 111},
		{"over", job.Completed, "TimerRemove = @30", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ad := jobAd(t, tt.ad)
			due := Due(ad, noon, tt.state)
			if tt.want == 0 {
				if !due.IsZero() {
					t.Errorf("due %v, want never", due)
				}
				return
			}
			if want := noon.Add(time.Duration(tt.want) * time.Second); !due.Equal(want) {
				t.Fatalf("due %v, want %v", due, want)
			}
			ok, _, _ := Startable(ad, due)
			if Periodic(ad, due, tt.state) == (Verdict{}) && !ok {
				t.Error("nothing happens when it is due")
			}
			if before := due.Add(-time.Second); Periodic(ad, before, tt.state) != (Verdict{}) {
				t.Error("it happens before it is due")
			}
		})
	}
}

func TestHasPeriodic(t *testing.T) {
	for ad, want := range map[string]bool{
		"NumJobStarts = 1":               false,
		"PeriodicHold = false":           false,
		"PeriodicHold = undefined":       false,
		"PeriodicRemove = true":          true,
		"PeriodicRelease = NumHolds < 3": true,
	} {
		if got := HasPeriodic(jobAd(t, ad)); got != want {
			t.Errorf("%s: %v", ad, got)
		}
	}
}

// The expression that submit makes of max_retries = 3 and success_exit_code = 2.
const retries = "JobMaxRetries = 3\nJobSuccessExitCode = 2\nOnExitRemove = NumJobCompletions > JobMaxRetries || ExitCode =?= JobSuccessExitCode\nOnExitHold = false\n"

func TestExit(t *testing.T) {
	for _, tt := range []struct {
		name, ad string
		want     Verdict
	}{
		{"no policy", "ExitBySignal = false\nExitCode = 1", Verdict{Action: Complete}},
		{
			"the first failure", retries + "NumJobCompletions = 1\nExitBySignal = false\nExitCode = 1",
			Verdict{Action: Requeue, Reason: "it exited with code 1: retry 1 of 3"},
		},
		{"success", retries + "NumJobCompletions = 1\nExitBySignal = false\nExitCode = 2", Verdict{Action: Complete}},
		{
			"the last retry", retries + "NumJobCompletions = 3\nExitBySignal = true\nExitSignal = 11",
			Verdict{Action: Requeue, Reason: "signal 11 ended it: retry 3 of 3"},
		},
		{"enough", retries + "NumJobCompletions = 4\nExitBySignal = false\nExitCode = 1", Verdict{Action: Complete}},
		{
			"on_exit_remove", "OnExitRemove = ExitBySignal == false\nExitBySignal = true\nExitSignal = 9",
			Verdict{Action: Requeue, Reason: "signal 9 ended it, and its on_exit_remove is false: ExitBySignal == false"},
		},
		{"that has no value", "OnExitRemove = ExitCode == 0\nExitBySignal = true\nExitSignal = 9", Verdict{Action: Complete}},
		{
			"on_exit_hold comes first", "OnExitRemove = false\nOnExitHold = ExitCode =!= 0\nOnExitHoldReason = \"failed with code\"\nOnExitHoldSubCode = 7\nExitBySignal = false\nExitCode = 3",
			Verdict{Hold, "failed with code", 3, 7},
		},
		{
			"without a reason", "OnExitHold = ExitCode =!= 0\nExitBySignal = false\nExitCode = 3",
			Verdict{Hold, "the job's on_exit_hold became true: ExitCode =!= 0", 3, 0},
		},
		{"that has no value, either", "OnExitHold = Nothing > 3\nExitBySignal = false\nExitCode = 3", Verdict{Action: Complete}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if has, want := HasExit(jobAd(t, tt.ad)), tt.name != "no policy"; has != want {
				t.Errorf("the job has something to say: %v, want %v", has, want)
			}
			if got := Exit(jobAd(t, tt.ad)); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestMemoryRetry(t *testing.T) {
	for _, tt := range []struct {
		name, ad string
		want     int64 // 0 for none
	}{
		{"not asked for", "", 0},
		{"one size", "RetryRequestMemory = 4096", 4096},
		{"not a larger one", "RetryRequestMemory = 1024", 0},
		{"a sequence", "RetryRequestMemory = { 512, 2048, 8192 }", 2048},
		{"to its end", "RequestMemory = 8192\nRetryRequestMemory = { 2048, 8192 }", 0},
		{"an amount to add", "RetryRequestMemoryIncrease = 500", 1524},
		{"an expression", "RetryRequestMemoryIncrease = RequestMemory * 4", 4096},
		{"up to a bound", "RetryRequestMemoryIncrease = RequestMemory * 4\nRetryRequestMemoryMax = 3000", 3000},
		{"no further", "RequestMemory = 3000\nRetryRequestMemoryIncrease = RequestMemory * 4\nRetryRequestMemoryMax = 3000", 0},
		{"nonsense", "RetryRequestMemory = \"much\"\nRetryRequestMemoryIncrease = error", 0},
		{"far too much", "RetryRequestMemoryIncrease = 1.0E300", 0},
		{"for its disk", "RetryRequestMemory = 4096\nHoldReasonSubCode = 104", 0},
		{"for another reason", "RetryRequestMemory = 4096\nHoldReasonCode = 13", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ad := jobAd(t, "RequestMemory = 1024\nHoldReasonCode = 34\n"+tt.ad)
			if got, ok := MemoryRetry(ad); ok != (tt.want > 0) || ok && got != tt.want {
				t.Errorf("got %d, %v, want %d", got, ok, tt.want)
			}
		})
	}
}

func TestStartable(t *testing.T) {
	for _, tt := range []struct {
		name, ad string
		ok       bool
		from     int // seconds from noon; 0 for the zero time
		why      string
	}{
		{"no deferral", "", true, 0, ""},
		{"too early", "DeferralTime = @1000\nDeferralPrepTime = 300", false, 700, "deferred"},
		{"300 s ahead when nothing is said", "DeferralTime = @300", true, 0, ""},
		{"in its window", "DeferralTime = @-10\nDeferralWindow = 60", true, 0, ""},
		{"missed", "DeferralTime = @-10", false, 0, "no machine could start"},
		{"no time", "DeferralTime = \"noon\"", false, 0, "not a time"},
		{"nor one that depends on what is not there", "DeferralTime = Nothing", false, 0, "not a time"},
		{"taken away", "DeferralTime = undefined", true, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok, from, why := Startable(jobAd(t, tt.ad), noon)
			if ok != tt.ok || !strings.Contains(why, tt.why) {
				t.Errorf("got %v, %q", ok, why)
			}
			if !ok && tt.from != 0 && !from.Equal(noon.Add(time.Duration(tt.from)*time.Second)) {
				t.Errorf("from %v", from)
			}
			if !ok && tt.from == 0 && !from.IsZero() {
				t.Errorf("from %v, want never", from)
			}
		})
	}
}

func TestNextRun(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Skip("no time zones here:", err)
	}
	for _, tt := range []struct {
		name, ad string
		after    time.Time
		want     string // "" for none
	}{
		{"no cron", "", noon, ""},
		{"every minute", `CronMinute = "*"`, noon, "2026-03-02 12:01"},
		{"the hour", `CronMinute = "0"`, noon, "2026-03-02 13:00"},
		{"a number", "CronMinute = 30", noon, "2026-03-02 12:30"},
		{"twice a day, Monday to Friday", "CronMinute = \"0\"\nCronHour = \"2,14\"\nCronDayOfWeek = \"1-5\"", noon.AddDate(0, 0, 4).Add(3 * time.Hour), "2026-03-09 02:00"},
		{"steps", `CronMinute = "*/25"`, noon.Add(51 * time.Minute), "2026-03-02 13:00"},
		{"a range with a step", "CronMinute = \"10-40/15\"", noon.Add(26 * time.Minute), "2026-03-02 12:40"},
		{"Sunday is 7", "CronMinute = \"0\"\nCronHour = \"0\"\nCronDayOfWeek = \"7\"", noon, "2026-03-08 00:00"},
		{"Sunday is 0", "CronMinute = \"0\"\nCronHour = \"0\"\nCronDayOfWeek = \"0\"", noon, "2026-03-08 00:00"},
		{"either day", "CronMinute = \"0\"\nCronHour = \"0\"\nCronDayOfMonth = \"13\"\nCronDayOfWeek = \"5\"", noon, "2026-03-06 00:00"},
		{"29 February", "CronMinute = \"0\"\nCronHour = \"0\"\nCronDayOfMonth = \"29\"\nCronMonth = \"2\"", noon, "2028-02-29 00:00"},
		{"a day that never comes", "CronDayOfMonth = \"31\"\nCronMonth = \"2\"", noon, ""},
		{"nonsense", `CronMinute = "often"`, noon, ""},
		{"out of range", `CronHour = "24"`, noon, ""},
		{"nothing", `CronHour = ""`, noon, ""},
		{"by the local clock", "CronMinute = \"0\"\nCronHour = \"14\"", noon.In(zurich), "2026-03-02 14:00"},
		{"the hour that summer time leaves out", "CronMinute = \"30\"\nCronHour = \"2\"", time.Date(2026, 3, 29, 0, 0, 0, 0, zurich), "2026-03-29 03:30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := NextRun(jobAd(t, tt.ad), tt.after)
			text := got.Format("2006-01-02 15:04")
			if ok != (tt.want != "") || ok && text != tt.want {
				t.Errorf("got %v (%v), want %q", text, ok, tt.want)
			}
		})
	}
}

// FuzzNextRun: whatever is in the fields, the answer comes soon, is later, and fits them.
func FuzzNextRun(f *testing.F) {
	f.Add("*", "*", "*", "*", "*")
	f.Add("0", "2,14", "*/2", "1-6/2", "7")
	f.Add("59/1", "23-0", "31", "2", "")
	f.Fuzz(func(t *testing.T, minute, hour, day, month, weekday string) {
		ad := classad.NewAd()
		for i, text := range []string{minute, hour, day, month, weekday} {
			ad.SetString(cronFields[i].attr, text)
		}
		at, ok := NextRun(ad, noon)
		if !ok {
			return
		}
		if !at.After(noon) || at.Second() != 0 {
			t.Errorf("next is %v", at)
		}
		if n, err := strconv.Atoi(minute); err == nil && n != at.Minute() {
			t.Errorf("minute %d, next is %v", n, at)
		}
		if n, err := strconv.Atoi(month); err == nil && n != int(at.Month()) {
			t.Errorf("month %d, next is %v", n, at)
		}
	})
}

func ExamplePeriodic() {
	ad, err := classad.ParseOldAd(`
PeriodicHold = NumJobStarts > 5
NumJobStarts = 6
`)
	if err != nil {
		panic(err)
	}
	v := Periodic(ad, time.Now(), job.Running)
	fmt.Println(v.Action, v.Code, v.Reason)
	// Output: hold 3 the job's periodic_hold became true: NumJobStarts > 5
}
