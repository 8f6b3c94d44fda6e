package starter

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

// leaves is a job that leaves whatever a job can leave.
const leaves = `
echo secret > secret.txt; echo secret > /tmp/secret; echo secret > /dev/shm/secret
mkdir closed; echo secret > closed/secret; chmod 0 closed
mkdir -p /tmp/deep/deeper; ln -s / /tmp/link; mkfifo pipe
chmod 700 /scratch /tmp; chmod 777 /dev/shm
perl -e 'shmget(42, 1000, 01600 | 0666) or die "shm: $!"; msgget(42, 01600 | 0666) // die "msg: $!"; semget(42, 1, 01600 | 0666) // die "sem: $!"'
(trap "" TERM HUP; sleep 1000) &
exit 7`

func TestRefreshLeavesNothing(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "chain")
		fresh := modes(t, i)
		init := initPid(t, i)
		runShell(t, i, leaves)
		if e := awaitExit(t, i); e.Code != 7 {
			t.Fatalf("the first job: %v\n%s", e, readScratch(t, i, "out"))
		}
		if err := i.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := modes(t, i); got != fresh {
			t.Errorf("the directories are %s, want %s as in a new claim", got, fresh)
		}
		runShell(t, i, `ls -A /scratch /tmp /dev/shm; tail -qn +2 /proc/sysvipc/*; cd /proc; for p in [0-9]*; do [ $p = 1 ] || [ $p = $$ ] || echo process $p; done`)
		if e := awaitExit(t, i); e.Code != 0 || e.Usage.User < 0 || e.Usage.MaxRSS > 1<<30 {
			t.Errorf("the second job: %v, used %+v", e, e.Usage)
		}
		want := "/dev/shm:\n\n/scratch:\n.skua-shm\n.skua-tmp\nout\n\n/tmp:\n"
		if got := readScratch(t, i, "out"); got != want {
			t.Errorf("the second job sees\n%s\nwant\n%s", got, want)
		}
		if initPid(t, i) != init {
			t.Error("another init runs the second job")
		}
	})
}

// modes describes the directories that a job may write to.
func modes(t *testing.T, i *Init) string {
	t.Helper()
	var all []string
	for _, dir := range []string{i.Scratch(), filepath.Join(i.Scratch(), TmpName), filepath.Join(i.Scratch(), ShmName), i.ImageDir()} {
		fi, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fi.Mode().String())
	}
	return strings.Join(all, " ")
}

func TestRefreshRefuses(t *testing.T) {
	capable(t)
	for _, tt := range []struct {
		name, script string
		outside      func(t *testing.T, i *Init)
		want         error
	}{
		{
			name: "a connection that is not over", want: ErrUsed,
			script: `perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die "listen: $!";
$c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $l->sockport) or die "connect: $!"; $s = $l->accept; close $c; close $s;'`,
		},
		{
			name: "attributes of a directory", want: ErrUsed, script: "true",
			outside: func(t *testing.T, i *Init) {
				if err := unix.Setxattr(filepath.Join(i.Scratch(), TmpName), "user.note", []byte("x"), 0); err != nil {
					t.Skip("the file system has no attributes: ", err)
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStarter(t, nil)
			i := open(t, s, "used")
			runShell(t, i, tt.script)
			if e := awaitExit(t, i); e.Code != 0 {
				t.Fatalf("the job: %v\n%s", e, readScratch(t, i, "out"))
			}
			if tt.outside != nil {
				tt.outside(t, i)
			}
			err := i.Refresh(t.Context())
			if err == nil { // what the init sees it says when the next job comes
				err = i.Run(t.Context(), JobSpec{Job: job.ID{Cluster: 2}, Argv: []string{"/bin/true"}})
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("making it as new for the next job gives %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("a job that runs", func(t *testing.T) {
		i := open(t, newStarter(t, nil), "busy")
		runShell(t, i, "sleep 1000")
		if err := i.Refresh(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("making it as new gives %v, want %v", err, ErrBusy)
		}
	})
}

// The owner may come when a claim has no job yet, or between two of them.
func TestFrozenClaimStartsItsJobFrozen(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "next")
		for n := range 2 {
			if n > 0 {
				if err := i.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := i.Freeze(); err != nil {
				t.Fatal(err)
			}
			runShell(t, i, "echo begun; exit 0")
			if !standsStill(t, i, "out") || readScratch(t, i, "out") != "" {
				t.Errorf("job %d of the claim runs, and the claim is frozen: %q", n+1, readScratch(t, i, "out"))
			}
			if err := i.Thaw(); err != nil {
				t.Fatal(err)
			}
			awaitExit(t, i)
			if got := readScratch(t, i, "out"); got != "begun\n" {
				t.Errorf("job %d of the claim wrote %q", n+1, got)
			}
		}
	})
}

func TestParseSockstat(t *testing.T) {
	const idle = "sockets: used 5\nTCP: inuse 0 orphan 0 tw 0 alloc 3 mem 0\nUDP: inuse 0 mem 2\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"none", idle, false},
		{"none of version 6", "TCP6: inuse 0\nUDP6: inuse 0\nFRAG6: inuse 0 memory 0\n", false},
		{"one open", strings.Replace(idle, "TCP: inuse 0", "TCP: inuse 1", 1), true},
		{"one that waits for its end", strings.Replace(idle, "tw 0", "tw 2", 1), true},
		{"a datagram socket", strings.Replace(idle, "UDP: inuse 0", "UDP: inuse 1", 1), true},
		{"nothing", "", false},
	} {
		if got := parseSockstat(tt.text); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParseKeyUsers(t *testing.T) {
	const text = "    0:    83 82/82 78/1000000 1580/25000000\n 1000:     2 2/2 2/200 36/20000\n"
	for uid, want := range map[int]string{0: "83 82/82 78/1000000 1580/25000000", 1000: "2 2/2 2/200 36/20000", 100: ""} {
		if got := parseKeyUsers(text, uid); got != want {
			t.Errorf("user %d: %q, want %q", uid, got, want)
		}
	}
}

// A directory is emptied in pieces, whatever a job has left in it.
func TestRenewDirOfMany(t *testing.T) {
	dir := t.TempDir()
	keep := []string{"one", "other"}
	for _, name := range keep {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2500 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if some, err := someNames(dir); err != nil || len(some) != 1000 {
		t.Errorf("%d names are read at once (%v)", len(some), err)
	}
	if err := renewDir(dir, 0o700, os.Getuid(), keep); err != nil {
		t.Fatal(err)
	}
	left, err := someNames(dir)
	slices.Sort(left)
	if err != nil || !slices.Equal(left, keep) {
		t.Errorf("%v are left (%v)", left, err)
	}
}
