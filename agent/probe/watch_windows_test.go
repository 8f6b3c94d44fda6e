package probe

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// typist names a file: what is written there somebody outside Windows types, as arguments of xdotool.
const typist = "SKUA_TYPIST"

// act has the typist do something, and returns when it is about to.
func act(t *testing.T, what string) {
	t.Helper()
	path := os.Getenv(typist)
	if err := os.WriteFile(path+".new", []byte(what+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	await(t, "the typist takes its order", func() bool { _, err := os.Stat(path); return errors.Is(err, os.ErrNotExist) })
}

func startWatcher(t *testing.T) (w *Watcher, touched chan Active) {
	t.Helper()
	touched = make(chan Active, 16)
	w, err := NewWatcher(WatchConfig{
		OnActive: func(a Active) { touched <- a }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	await(t, "the session is watched", func() bool {
		sources := w.Sources()
		if len(sources) > 0 && sources[0].Err != nil {
			t.Fatalf("the session is not watched: %v", sources[0].Err)
		}
		return len(sources) > 0 && sources[0].Watching
	})
	return w, touched
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func quietNow(t *testing.T, w *Watcher) {
	t.Helper()
	await(t, "the owner is quiet", func() bool { return w.Idle(time.Now()) >= 2*DefaultQuiet })
}

// What the owner does is seen: keys and the mouse alike, each first one after a quiet time.
func TestInputIsSeen(t *testing.T) {
	if os.Getenv(typist) == "" {
		t.Skip(typist + " names no typist")
	}
	w, touched := startWatcher(t)
	var took []time.Duration
	for i := range 20 {
		quietNow(t, w)
		for len(touched) > 0 {
			<-touched
		}
		start := time.Now()
		if i%2 == 0 {
			act(t, []string{"mousemove 100 90", "mousemove 120 90"}[i/2%2])
		} else {
			act(t, "key a")
		}
		select {
		case a := <-touched:
			took = append(took, a.At.Sub(start))
		case <-time.After(2 * helperBeat): // a system that does not push the input is found out by the next beat
			t.Fatalf("touch %d was not seen", i)
		}
		if idle, ok := w.ConsoleIdle(time.Now()); !ok || idle > 5*time.Second {
			t.Errorf("after a touch the console is idle for %v, %v", idle, ok)
		}
	}
	slices.Sort(took)
	t.Logf("seen after, the typist's own delay included: median %v, most %v", took[len(took)/2], took[len(took)-1])
	t.Logf("figure: input_ms=%d", took[len(took)/2].Milliseconds())
	t.Log("figure: input_seen=true")
}

// A session whose helper is gone counts as in use until there is another.
func TestLostHelper(t *testing.T) {
	w, touched := startWatcher(t)
	var helperPid uint32
	await(t, "the helper is there", func() bool {
		helperPid = childOf(t, windows.GetCurrentProcessId())
		return helperPid != 0
	})
	for len(touched) > 0 {
		<-touched
	}
	h, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, helperPid)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	if err := windows.TerminateProcess(h, 1); err != nil {
		t.Fatal(err)
	}
	await(t, "the loss is noticed", func() bool { return len(touched) > 0 })
	if idle := w.Idle(time.Now()); idle > time.Second {
		t.Errorf("without a helper the owner is away for %v", idle)
	}
	await(t, "another helper sees that the session is idle", func() bool {
		return w.Sources()[0].Watching && w.Idle(time.Now()) > 2*DefaultQuiet
	})
	t.Log("figure: helper_replaced=true")
}

// childOf finds a process that another has started.
func childOf(t *testing.T, parent uint32) uint32 {
	t.Helper()
	snap, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(snap)
	e := windows.ProcessEntry32{Size: uint32(sizeofProcessEntry)}
	for err = windows.Process32First(snap, &e); err == nil; err = windows.Process32Next(snap, &e) {
		if e.ParentProcessID == parent {
			return e.ProcessID
		}
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		t.Fatal(err)
	}
	return 0
}

// Where there are no sessions to ask for, their list is an error or empty, and never a panic.
func TestSessionsAreListed(t *testing.T) {
	sessions, err := activeSessions()
	own, ok := ownSession()
	t.Logf("sessions %v (%v), our own %d, %v", sessions, err, own, ok)
	if !ok {
		t.Error("this process has no session")
	}
	// As a service does, though this is no service: with the rights of the session's user, as far as the system lets.
	for _, s := range sessions {
		h, err := startForeign(s.ID)
		if err != nil {
			t.Logf("figure: helper_as_user=false")
			t.Logf("a helper with the rights of the user of session %d: %v", s.ID, err)
			continue
		}
		heard := make(chan inputReport, 16)
		ended := make(chan error, 1)
		go func() { ended <- h.follow(func(r inputReport) { heard <- r }) }()
		select {
		case r := <-heard:
			t.Logf("it says %q", r.line())
			t.Log("figure: helper_as_user=true")
		case err := <-ended:
			t.Errorf("it has ended: %v", err)
			ended <- err
		case <-time.After(30 * time.Second):
			t.Error("it says nothing")
		}
		h.end()
		<-ended
	}
}
