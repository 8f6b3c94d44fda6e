package startd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"skua/agent/control"
	"skua/agent/probe"
)

// What an administrator wished for counts again when a wish over it has ended, also after a restart of the agent.
func TestWishUnderAnother(t *testing.T) {
	d := bareDaemon(t)
	now := time.Now().UTC().Round(0)
	empty := control.Wish{Kind: control.Finish, At: now, Until: now.Add(8 * time.Hour), By: "root", Admin: true}
	pause := control.Wish{Kind: control.Pause, At: now, Until: now.Add(time.Hour), By: "mira", Under: &empty}
	d.Heed(pause)
	for _, restarted := range []bool{false, true} {
		if restarted {
			d.wish.Store(nil)
			d.readWish()
		}
		for _, tt := range []struct {
			after time.Duration
			want  control.Kind
		}{{0, control.Pause}, {time.Hour, control.Finish}, {8 * time.Hour, ""}} {
			if got := d.wished(now.Add(tt.after)); got.Kind != tt.want {
				t.Errorf("after %v, restarted %v, %+v counts, want %q", tt.after, restarted, got, tt.want)
			}
		}
	}
}

// A pause holds also where it cannot be written: a full disk may be why the owner wants the jobs away.
func TestPauseOnAFullDisk(t *testing.T) {
	d := bareDaemon(t)
	dir, now := d.cfg.Dir, time.Now()
	d.cfg.Dir = filepath.Join(dir, "file", "below") // no directory can be made there
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Heed(control.Wish{Kind: control.Pause, At: now, Until: now.Add(time.Hour)})
	if s := d.Status(now); s.Wish.Kind != control.Pause || !s.WishUnkept {
		t.Errorf("%+v counts, unkept %v", s.Wish, s.WishUnkept)
	}
	d.cfg.Dir = dir
	d.Heed(control.Wish{})
	if s := d.Status(now); s.Wish.Kind != "" || s.WishUnkept {
		t.Errorf("with room again %+v counts, unkept %v", s.Wish, s.WishUnkept)
	}
}

// The status has what the policy says and looks at, for the command that explains it.
func TestStatusExplains(t *testing.T) {
	for _, parts := range []bool{false, true} {
		d := bareDaemon(t)
		if parts {
			d.parts = newParting(d)
		}
		s := d.Status(time.Now())
		if s.Rules["START"] != "true" || s.Rules["SUSPEND"] != "false" || s.Facts["Activity"] != `"Idle"` {
			t.Errorf("in parts %v: rules %v, facts %v", parts, s.Rules, s.Facts)
		}
	}
}

func TestStatusTellsOfUnseenDisplays(t *testing.T) {
	d := bareDaemon(t)
	if s := d.Status(time.Now()); s.Unseen != nil {
		t.Errorf("where nobody is watched the status has %v", s.Unseen)
	}
	d.owner.watcher = &handWatcher{unseen: []probe.SourceState{{Name: ":5", Busy: true, Err: errors.New("it refuses")}}}
	if s := d.Status(time.Now()); !slices.Equal(s.Unseen, []control.Unseen{{Source: ":5", Why: "it refuses"}}) {
		t.Errorf("the status has %v", s.Unseen)
	}
}

// The end of a pause is not slept through.
func TestPolicyLooksWhenAPauseEnds(t *testing.T) {
	d := bareDaemon(t)
	k, now := d.keepers[0], time.Now()
	k.looked = now
	d.Heed(control.Wish{Kind: control.Pause, At: now, Until: now.Add(10 * time.Second)})
	if got := k.untilLook(now); got <= 10*time.Second || got > 11*time.Second {
		t.Errorf("it sleeps for %v, and the pause is over after 10s", got)
	}
	if got := k.untilLook(now.Add(10 * time.Second)); got <= time.Millisecond {
		t.Errorf("after the pause it sleeps for %v", got)
	}
}
