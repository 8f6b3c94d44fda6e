package systemdtest_test

import (
	"fmt"
	"strings"
)

// ownerLogsIn: somebody logs in to a desktop that shows its input to nobody, so that all that is known is what
// logind tells. The job makes way, goes on while the screen is locked, and again when that person has left.
func (m *machine) ownerLogsIn() {
	t := m.t
	t.Helper()
	m.write("/etc/skua/policy.toml", fmt.Sprintf(`preset = "desktop"
[owner]
idle_after = "2s"
continue_after = "2s"
background_load = 1000.0
[shared_fs]
mounts = [%q]
`, shared), 0o644)
	m.must("systemctl reload skua-agent")
	m.await("sleep waits for the jobs to be frozen", func() bool {
		return strings.Contains(m.must("systemd-inhibit --list --no-legend"), "Skua")
	})
	j := submitStepper(m, user, "beside")
	began := j.process()
	t.Cleanup(func() {
		if t.Failed() {
			said, _, _ := m.try("loginctl list-sessions; loginctl session-status; systemctl status desk; journalctl -b -q -o cat -u skua-agent | tail -n 30")
			t.Log(said)
		}
	})
	becomes := func(activity, when string) {
		t.Helper()
		m.await("the slot is "+activity+" "+when, func() bool {
			return m.as(user, "skua status -af Activity") == activity
		})
	}
	m.must("touch /etc/default/locale && useradd --create-home bea") // the login looks for that file
	// As a display manager does: a session of the class user, in which a compositor would run.
	m.must("systemd-run --quiet --unit=desk --uid=bea -p PAMName=su-l -p Environment='XDG_SESSION_TYPE=wayland XDG_SESSION_CLASS=user' sleep infinity")
	becomes("Suspended", "after somebody has logged in")
	session := m.must("loginctl list-sessions --no-legend | awk '$3 == \"bea\" && $0 !~ /manager/ { print $1 }'")
	lock := func(locked bool) {
		t.Helper()
		m.must(fmt.Sprintf("busctl call org.freedesktop.login1 /org/freedesktop/login1/session/$(busctl --no-pager call org.freedesktop.login1 "+
			"/org/freedesktop/login1 org.freedesktop.login1.Manager GetSession s %s | sed 's|.*/||; s|\"||') org.freedesktop.login1.Session SetLockedHint b %v",
			session, locked))
	}
	lock(true)
	becomes("Busy", "while the screen is locked")
	lock(false)
	becomes("Suspended", "when the screen is unlocked")
	m.must("systemctl stop desk")
	becomes("Busy", "after that person has left")
	j.goesOn()
	if now := j.process(); now != began {
		t.Errorf("the job is process %+v, and was %+v", now, began)
	}
	j.end()
	m.as(user, "cd ~/work && skua wait --timeout 4m "+j.id)
	j.checkSteps()
	t.Logf("figure: logind_followed=%v", !t.Failed())
}
