package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/quantity"
)

// check refuses what this version cannot keep, and what contradicts the preset or itself. A setting
// that is accepted and does nothing would be found out by the owner.
func (f *File) check(from defaults) error {
	for _, c := range []func(defaults) error{f.checkOwner, f.checkHours, f.checkVacate, f.checkAllow} {
		if err := c(from); err != nil {
			return err
		}
	}
	return checkMounts(f.SharedFS.Mounts)
}

func (f *File) checkOwner(from defaults) error {
	o := f.Owner
	beside := given(f.Limits.InUse.CPUs, from.inUse) != quantity.Share{}
	switch {
	case !from.hasOwner && f.speaksOfOwner():
		return &diag.Problem{
			What: fmt.Sprintf("owner: the preset %q does not look at the owner, so these settings would do nothing", f.Preset),
			Hint: `remove what is about the owner, or use the preset "desktop"`,
		}
	case beside && o.IdleAfter != nil:
		return &diag.Problem{
			What: "owner.idle_after would do nothing, since jobs start beside the owner here",
			Hint: "remove it, or set cpus = 0 in [limits.in_use]",
		}
	case o.IdleAfter != nil && o.IdleAfter.Std() < shortestIdle:
		return tooShort("owner.idle_after")
	case o.ContinueAfter != nil && o.ContinueAfter.Std() < shortestIdle:
		return tooShort("owner.continue_after")
	case o.BackgroundLoad != nil && !(*o.BackgroundLoad >= 0 && *o.BackgroundLoad <= 1e6):
		return &diag.Problem{
			What: fmt.Sprintf("owner.background_load cannot be %v", *o.BackgroundLoad),
			Hint: "it is the number of cpus that others may keep busy on an idle machine, such as 0.3",
		}
	case o.SlotsConnected != nil && *o.SlotsConnected < 1:
		return &diag.Problem{
			What: fmt.Sprintf("owner.slots_connected cannot be %d", *o.SlotsConnected),
			Hint: `it is how many of the slots make way for the owner; for a machine that nobody sits at, use preset = "dedicated"`,
		}
	}
	return nil
}

// speaksOfOwner says whether the file has a setting that means something only where somebody sits.
func (f *File) speaksOfOwner() bool {
	o := f.Owner
	return o.IdleAfter != nil || o.ContinueAfter != nil || o.BackgroundLoad != nil || o.FullScreen != nil || o.Inhibited != nil ||
		o.SlotsConnected != nil || f.Limits.InUse.CPUs != nil || o.MayPause != nil && *o.MayPause != 0
}

func (f *File) checkHours(from defaults) error {
	switch {
	case len(f.Hours.Holidays) > 0 && len(f.Hours.Run) == 0 && len(from.run) == 0:
		return &diag.Problem{
			What: "hours.holidays would do nothing: jobs may run at any hour",
			Hint: "write the hours of other days as run, or remove holidays",
		}
	case len(f.Hours.RunOnHolidays) > 0 && len(f.Hours.Holidays) == 0:
		return &diag.Problem{What: "hours.run_on_holidays would do nothing without hours.holidays", Hint: "name the days"}
	}
	const most = 366
	if n := max(len(f.Hours.Run), len(f.Hours.Holidays), len(f.Hours.RunOnHolidays)); n > most {
		return &diag.Problem{What: fmt.Sprintf("hours: a list of %d is longer than %d", n, most), Hint: "days in a row are one entry"}
	}
	return nil
}

func (f *File) checkVacate(defaults) error {
	const longest = 12 * time.Hour
	d := f.Drain
	switch {
	case f.Vacate.MaxVacateTime != nil && *f.Vacate.MaxVacateTime == 0:
		return &diag.Problem{
			What: "vacate.max_vacate_time cannot be 0",
			Hint: `to kill jobs without a checkpoint, write WANT_VACATE = "false" in [expressions]`,
		}
	case f.Checkpoints.MinInterval != nil && f.Checkpoints.MinInterval.Std() < time.Second:
		return &diag.Problem{What: "checkpoints.min_interval cannot be less than a second", Hint: "to have no images made of jobs that run, write periodic = false"}
	case f.Checkpoints.MaxInterval != nil && f.Checkpoints.MaxInterval.Std() < time.Second:
		return &diag.Problem{What: "checkpoints.max_interval cannot be less than a second", Hint: "to have no images made of jobs that run, write periodic = false"}
	case d.Before != nil && d.Reboot == nil:
		return &diag.Problem{What: "drain.before would do nothing without drain.reboot", Hint: `say when, as in reboot = "Mon-Fri 04:00"`}
	case d.Before != nil && (d.Before.Std() < time.Minute || d.Before.Std() > longest):
		return &diag.Problem{What: fmt.Sprintf("drain.before = %q is not between 1m and 12h", d.Before), Hint: `leave it out for "30m"`}
	}
	return nil
}

func (f *File) checkAllow(defaults) error {
	const most = 1000
	for key, names := range map[string][]string{"users": f.Allow.Users, "groups": f.Allow.Groups} {
		if len(names) > most {
			return &diag.Problem{What: fmt.Sprintf("allow.%s names more than %d", key, most), Hint: "write START in [expressions]"}
		}
		for _, name := range names {
			if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`,"\\`, r) }) {
				return &diag.Problem{What: fmt.Sprintf("allow.%s: %q is no name", key, name), Hint: "write each name by itself, as skua q shows it"}
			}
		}
	}
	return nil
}

// ownTrees are directories that every sandbox has of its own, or shows read-only.
var ownTrees = []string{"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "scratch", "sys", "tmp", "usr", "var"}

// checkMounts refuses shared directories that would open the machine to jobs, or hide what they need.
func checkMounts(mounts []string) error {
	for _, m := range mounts {
		top, _, _ := strings.Cut(strings.TrimPrefix(m, "/"), "/")
		if !path.IsAbs(m) || path.Clean(m) != m || slices.Contains(ownTrees, top) || top == "" {
			return &diag.Problem{
				What: fmt.Sprintf("shared_fs.mounts: %q cannot be shared with jobs", m),
				Hint: "name the mount point of a shared file system, such as /srv/data; the system's own directories stay apart",
			}
		}
	}
	return nil
}

func tooShort(key string) error {
	return &diag.Problem{
		What: key + " cannot be less than a second",
		Hint: `for a machine that nobody sits at, use preset = "dedicated"`,
	}
}
