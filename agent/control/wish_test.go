package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// What an administrator wishes for is neither ended nor shortened by who sits at the machine.
func TestDecideBesideAnAdministrator(t *testing.T) {
	rights := Rights{Seated: []uint32{1000}, MayPause: 4 * time.Hour}
	mira, root := Peer{Seat: 1000, Name: "mira"}, Peer{Name: "root", Admin: true}
	week := Wish{Kind: Pause, At: noon, Until: noon.Add(7 * 24 * time.Hour), By: "root", Admin: true}
	empty := Wish{Kind: Finish, At: noon, Until: noon.Add(time.Hour), By: "root", Admin: true}
	own := Wish{Kind: Pause, At: noon, Until: noon.Add(3 * time.Hour), By: "mira"}
	emptied := Wish{Kind: Finish, At: noon, Until: noon.Add(7 * 24 * time.Hour), By: "root", Admin: true}
	over, short := own, own // what mira wished for while that held, or only for a while
	over.Under, short.Under = &emptied, &empty
	for _, tt := range []struct {
		name   string
		who    Peer
		before Wish
		ask    Ask
		want   string // kind, hours, and whether it is an administrator's, then the same of what is under it
	}{
		{"a shorter pause", mira, week, Ask{Kind: Pause, For: time.Hour}, "pause 168 true"},
		{"a finish", mira, week, Ask{Kind: Finish, For: time.Hour}, "pause 168 true"},
		{"a resume", mira, week, Ask{Kind: Resume}, "root paused this machine"},
		{"a pause while a machine is emptied", mira, empty, Ask{Kind: Pause, For: 2 * time.Hour}, "pause 2 false, under it finish 1 true"},
		{"a short pause while a machine is emptied for long", mira, emptied, Ask{Kind: Pause, For: time.Hour}, "pause 1 false, under it finish 168 true"},
		{"another pause", mira, over, Ask{Kind: Pause, For: 2 * time.Hour}, "pause 2 false, under it finish 168 true"},
		{"a finish in the place of that pause", mira, over, Ask{Kind: Finish, For: 2 * time.Hour}, "finish 168 true"},
		{"that pause taken back", mira, over, Ask{Kind: Resume}, "finish 168 true"},
		{"a pause longer than an administrator's", mira, Wish{Kind: Pause, At: noon, Until: noon.Add(time.Hour), By: "root", Admin: true}, Ask{Kind: Pause, For: 2 * time.Hour}, "pause 2 false, under it pause 1 true"},
		{"a finish longer than an administrator's pause", mira, Wish{Kind: Pause, At: noon, Until: noon.Add(time.Hour), By: "root", Admin: true}, Ask{Kind: Finish, For: 2 * time.Hour}, "pause 2 false, under it pause 1 true"},
		{"the administrator, over both", root, over, Ask{Kind: Pause, For: time.Hour}, "pause 1 true"},
		{"the administrator takes both back", root, over, Ask{Kind: Resume}, " 0 false"},
		{"one's own, shorter", mira, own, Ask{Kind: Pause, For: time.Hour}, "pause 1 false"},
		{"one's own, taken back", mira, own, Ask{Kind: Resume}, " 0 false"},
		{"the administrator, shorter", root, week, Ask{Kind: Pause, For: time.Hour}, "pause 1 true"},
		{"the administrator takes it back", root, week, Ask{Kind: Resume}, " 0 false"},
	} {
		w, err := rights.Decide(tt.who, tt.ask, tt.before, noon)
		got := fmt.Sprintf("%s %v %v", w.Kind, max(0, w.Until.Sub(noon).Hours()), w.Admin)
		if u := w.Under; u != nil {
			got += fmt.Sprintf(", under it %s %v %v", u.Kind, u.Until.Sub(noon).Hours(), u.Admin)
		}
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (err == nil || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	// The administrator's holds on when the other is over, and only as long as it would by itself.
	for _, tt := range []struct {
		w    Wish
		at   time.Time
		want Wish
	}{
		{over, noon, over},
		{over, over.Until, emptied},
		{over, emptied.Until, Wish{}},
		{short, empty.Until, short},
		{short, short.Until, Wish{}},
		{Wish{}, noon, Wish{}},
	} {
		if got := tt.w.Current(tt.at); got != tt.want {
			t.Errorf("of %v at %v counts %+v, want %+v", tt.w, tt.at, got, tt.want)
		}
	}
	if w, err := rights.Decide(mira, Ask{Kind: Resume}, short, empty.Until); err != nil || w != (Wish{}) {
		t.Errorf("taken back when the administrator's is over: %+v, %v", w, err)
	}
	// When it is over it binds nobody any more.
	if w, err := rights.Decide(mira, Ask{Kind: Resume}, week, week.Until); err != nil || w != (Wish{}) {
		t.Errorf("after its time: %+v, %v", w, err)
	}
}

// Who sits at the machine may do what policy grants, an administrator everything, and nobody else anything.
func TestDecide(t *testing.T) {
	const mira, tom, root = 1000, 1001, 0
	rights := Rights{Seated: []uint32{mira}, MayPause: 4 * time.Hour}
	none := rights
	none.MayPause = 0
	for _, tt := range []struct {
		name   string
		rights Rights
		uid    uint32
		ask    Ask
		long   time.Duration // of the wish
		err    string
	}{
		{"the owner, without a duration", rights, mira, Ask{Kind: Pause}, time.Hour, ""},
		{"the owner", rights, mira, Ask{Kind: Pause, For: 4 * time.Hour}, 4 * time.Hour, ""},
		{"the owner, too long", rights, mira, Ask{Kind: Pause, For: 4*time.Hour + 1}, 0, "grants 4h0m0s at a time"},
		{"the owner finishes", rights, mira, Ask{Kind: Finish, For: time.Hour}, time.Hour, ""},
		{"the owner resumes", rights, mira, Ask{Kind: Resume}, 0, ""},
		{"little is granted", Rights{Seated: []uint32{mira}, MayPause: time.Minute}, mira, Ask{Kind: Pause}, time.Minute, ""},
		{"nothing is granted", none, mira, Ask{Kind: Pause}, 0, "only an administrator"},
		{"nothing is granted, nor taken back", none, mira, Ask{Kind: Resume}, 0, "only an administrator"},
		{"somebody else", rights, tom, Ask{Kind: Pause}, 0, "does not sit at this machine"},
		{"somebody else resumes", rights, tom, Ask{Kind: Resume}, 0, "does not sit at this machine"},
		{"nobody sits there", Rights{MayPause: time.Hour}, mira, Ask{Kind: Pause}, 0, "does not sit"},
		{"root", none, root, Ask{Kind: Pause, For: 100 * time.Hour}, 100 * time.Hour, ""},
		{"root, without a duration", none, root, Ask{Kind: Pause}, time.Hour, ""},
		{"root, for ever", none, root, Ask{Kind: Pause, For: 1<<63 - 1}, longest, ""},
		{"nonsense", rights, root, Ask{Kind: "dance"}, 0, `cannot "dance"`},
		{"no kind", rights, root, Ask{}, 0, "cannot"},
		{"negative", rights, root, Ask{Kind: Pause, For: -1}, 0, "no duration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := tt.rights.Decide(Peer{Seat: tt.uid, Name: "somebody", Admin: tt.uid == root}, tt.ask, Wish{}, noon)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				if w != (Wish{}) {
					t.Errorf("refused, and yet %+v", w)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.long == 0 {
				if w != (Wish{}) {
					t.Errorf("got %+v, want none", w)
				}
				return
			}
			if want := (Wish{Kind: tt.ask.Kind, At: noon, Until: noon.Add(tt.long), By: "somebody", Admin: tt.uid == root}); w != want {
				t.Errorf("got %+v, want %+v", w, want)
			}
			if !w.Holds(noon) || !w.Holds(noon.Add(tt.long-1)) || w.Holds(noon.Add(tt.long)) {
				t.Error("it does not hold just until its end")
			}
		})
	}
}

func TestWishZero(t *testing.T) {
	if (Wish{}).Holds(time.Time{}.Add(-1)) {
		t.Error("no wish holds")
	}
}

// TestSeats: logind's account of seats comes first, then whose virtual terminal the screen shows.
func TestSeats(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := Seats{Run: filepath.Join(dir, "seats"), TTY: filepath.Join(dir, "active"), Dev: filepath.Join(dir, "dev")}
	check := func(what string, want ...uint32) {
		t.Helper()
		got := s.Users()
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
	}
	check("a machine without a console")
	write("active", "tty2\n")
	check("a terminal that is not there")
	write("dev/tty2", "")
	check("the owner of the terminal", uint32(os.Getuid()))
	write("seats/seat0", "# This is private data. Do not parse.\nIS_SEAT0=1\nCAN_TTY=1\nSESSIONS=4 c1\n")
	check("nobody's session is active")
	write("seats/seat0", "IS_SEAT0=1\nACTIVE=4\nACTIVE_UID=1000\nSESSIONS=4 c1\nUIDS=1000 113\n")
	check("one seat", 1000)
	write("seats/seat1", "ACTIVE=7\nACTIVE_UID=1001\n")
	check("two seats", 1000, 1001)
	write("seats/seat1", "ACTIVE_UID=-1\n")
	check("nonsense", 1000)
}

// Everybody is told for how long he may keep jobs away himself.
func TestMost(t *testing.T) {
	r := Rights{Seated: []uint32{1000}, MayPause: 4 * time.Hour}
	for _, tt := range []struct {
		peer Peer
		want time.Duration
	}{{Peer{Seat: 1000}, 4 * time.Hour}, {Peer{Seat: 1001}, 0}, {Peer{Admin: true}, longest}} {
		if got := r.most(tt.peer); got != tt.want {
			t.Errorf("%+v may pause %v, want %v", tt.peer, got, tt.want)
		}
	}
	if Unbounded(4*time.Hour) || !Unbounded(r.most(Peer{Admin: true})) {
		t.Error("4h is for any time, or an administrator's is not")
	}
}
