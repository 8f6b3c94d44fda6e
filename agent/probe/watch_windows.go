package probe

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"skua/internal/pause"
)

const (
	sessionsEach = 5 * time.Second // how often sessions are looked for where the system does not tell
	sessionsRare = time.Minute     // and where it does
	helperSilent = 3 * helperBeat  // a helper that says nothing for so long sees nothing
)

// errSilent says that a helper lives and says nothing.
var errSilent = errors.New("the session's helper is silent")

// run watches the sessions of users: that of this process, or, as a service, which has a session without
// input, all that are in use here or from afar.
func (w *Watcher) run(ctx context.Context) error {
	if w.cfg.SkipDisplays {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	own, ok := ownSession()
	if !ok || own != 0 || !canHelp {
		w.watchOwn(ctx, own)
		return context.Cause(ctx)
	}
	w.watchSessions(ctx)
	return context.Cause(ctx)
}

// watchOwn watches the session that this process is in. It ends with it.
func (w *Watcher) watchOwn(ctx context.Context, id uint32) {
	s := winSession{ID: id, Remote: isRemote(id)}
	if canHelp {
		w.watchSession(ctx, s, false)
		return
	}
	src := w.addSource(s.name(), !s.Remote)
	defer src.remove()
	for ctx.Err() == nil {
		if err := followInput(ctx, w.cfg.Quiet, src.reported); ctx.Err() == nil {
			src.blind(err)
		}
		_ = pause.For(ctx, sessionsEach) // the loop looks whether ctx has ended
	}
}

// watchSessions has a helper in every session in use.
func (w *Watcher) watchSessions(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	changes := make(chan struct{}, 1)
	told := make(chan bool, 1) // whether the system tells of changes
	wg.Go(func() { told <- awaitSessionChanges(ctx, changes) })
	each := sessionsRare
	stops := make(map[winSession]context.CancelFunc)
	var have []winSession
	first := true
	for {
		now, err := activeSessions()
		if err != nil {
			w.log.Warn("sessions cannot be listed", "error", err)
		} else {
			came, went := winSessionsChange(have, now)
			for _, s := range went {
				stops[s]()
				delete(stops, s)
			}
			for _, s := range came {
				ctx, stop := context.WithCancel(ctx)
				stops[s] = stop
				news := !first
				wg.Go(func() { w.watchSession(ctx, s, news) })
			}
			have, first = now, false
		}
		timer := time.NewTimer(each)
		select {
		case <-ctx.Done():
			timer.Stop()
			for _, stop := range stops {
				stop()
			}
			return
		case <-changes:
		case <-told:
			each = sessionsEach
		case <-timer.C:
		}
		timer.Stop()
	}
}

// watchSession follows what the helper in a session says until ctx ends, and starts it anew when it ends. news
// says that somebody has just begun to use the session, which is a touch.
func (w *Watcher) watchSession(ctx context.Context, s winSession, news bool) {
	src := w.addSource(s.name(), !s.Remote)
	defer src.remove()
	if news {
		src.touched(time.Now(), true)
	}
	for ctx.Err() == nil {
		if err := w.hearHelper(ctx, s.ID, src); ctx.Err() == nil {
			src.blind(err)
		}
		_ = pause.For(ctx, sessionsEach) // the loop looks whether ctx has ended
	}
}

// hearHelper runs one helper until it ends, falls silent, or ctx ends.
func (w *Watcher) hearHelper(ctx context.Context, id uint32, src *source) error {
	h, err := startHelper(id, w.cfg.Quiet)
	if err != nil {
		return err
	}
	heard := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- h.follow(func(r inputReport) {
			src.reported(r)
			select {
			case heard <- struct{}{}:
			default:
			}
		})
	}()
	silence := time.NewTimer(helperSilent)
	defer silence.Stop()
	for {
		select {
		case <-heard:
			silence.Reset(helperSilent)
			continue
		case err := <-ended:
			h.end()
			return err
		case <-silence.C:
			err = errSilent
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		h.end() // which ends follow, too
		<-ended
		return err
	}
}

// reported takes in what a session's helper says.
func (s *source) reported(r inputReport) {
	now := time.Now()
	s.w.mu.Lock()
	watching := s.watching
	s.full = r.FullScreen
	s.w.mu.Unlock()
	switch {
	case r.Active:
		if !watching {
			s.watched(now)
		}
		s.touched(now, true)
	case !watching:
		s.watched(now.Add(-r.Idle))
		s.inputWas(now.Add(-r.Idle))
	default:
		s.inputWas(now.Add(-r.Idle))
	}
}

// blind notes that a session in use is not seen: its owner counts as present until it is.
func (s *source) blind(err error) {
	s.failed(err)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
	s.busy, s.full = true, false
}

var (
	wtsapi32                   = windows.NewLazySystemDLL("wtsapi32.dll")
	wtsWaitSystemEvent         = wtsapi32.NewProc("WTSWaitSystemEvent")
	wtsQuerySessionInformation = wtsapi32.NewProc("WTSQuerySessionInformationW")
)

// activeSessions are those in which a user is logged on and can see the screen. One whose screen is locked is
// among them.
func activeSessions() ([]winSession, error) {
	var list *windows.WTS_SESSION_INFO
	var n uint32
	if err := windows.WTSEnumerateSessions(0, 0, 1, &list, &n); err != nil {
		return nil, os.NewSyscallError("WTSEnumerateSessions", err)
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(list)))
	var sessions []winSession
	for _, s := range unsafe.Slice(list, n) {
		if s.State == windows.WTSActive && s.SessionID != 0 {
			sessions = append(sessions, winSession{ID: s.SessionID, Remote: isRemote(s.SessionID)})
		}
	}
	return sessions, nil
}

// SeatedSessions are the sessions in use at the machine's own screen and keyboard; none if they cannot be listed.
func SeatedSessions() (ids []uint32) {
	sessions, err := activeSessions()
	if err != nil {
		return nil
	}
	for _, s := range sessions {
		if !s.Remote {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// isRemote says whether a session is used from another machine.
func isRemote(id uint32) bool {
	const clientProtocolType, console = 16, 0
	var buf *uint16
	var n uint32
	ok, _, _ := wtsQuerySessionInformation.Call(0, uintptr(id), clientProtocolType, uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&n)))
	if ok == 0 || buf == nil {
		return false
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(buf)))
	return n >= 2 && *buf != console
}

// awaitSessionChanges pokes changes whenever a session comes, goes or changes hands, until ctx ends or the
// system does not tell.
func awaitSessionChanges(ctx context.Context, changes chan<- struct{}) (untold bool) {
	const all, flush = 0x7FFFFFFF, 0x80000000 // WTS_EVENT_ALL, WTS_EVENT_FLUSH
	if wtsWaitSystemEvent.Find() != nil {
		return true
	}
	stop := context.AfterFunc(ctx, func() {
		var none uint32
		wtsWaitSystemEvent.Call(0, flush, uintptr(unsafe.Pointer(&none))) // ends the wait of the other thread
	})
	defer stop()
	for ctx.Err() == nil {
		var what uint32
		if ok, _, _ := wtsWaitSystemEvent.Call(0, all, uintptr(unsafe.Pointer(&what))); ok == 0 || what == 0 {
			return ctx.Err() == nil
		}
		select {
		case changes <- struct{}{}:
		default:
		}
	}
	return false
}

// FullScreen says whether something fills the screen of a session in use and wants no company, as far as
// helpers have said so.
func (w *Watcher) FullScreen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.sources, func(s *source) bool { return s.full })
}

// bootTime is when the machine started.
func bootTime() time.Time { return time.Now().Add(-windows.DurationSinceBoot()) }
