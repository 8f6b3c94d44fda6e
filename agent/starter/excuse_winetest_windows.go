//go:build winetest

package starter

import "golang.org/x/sys/windows"

// excused is of a program built with -tags winetest, which is for tests alone: under Wine, and nowhere else, it runs
// jobs although Wine restricts no token and keeps nobody from anybody's files. All else that the self test looks for
// must be so.
func (s *Starter) excused(r winReport) error {
	why := r.verdict()
	if why == nil || windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		return why
	}
	r.Restricted, r.Privileges, r.ReadsAgents, r.WritesAgents = true, 0, false, false
	if err := r.verdict(); err != nil {
		return err
	}
	s.log.Warn("TEST BUILD: jobs run here unprotected", "without", why)
	return nil
}
