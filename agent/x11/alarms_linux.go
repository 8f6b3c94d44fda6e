package x11

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Requests of the SYNC extension, and the parts of an alarm that are set.
const (
	syncInitialize   = 0
	syncListCounters = 1
	syncQueryCounter = 5
	syncCreateAlarm  = 8

	alarmNotify = 1 // after the extension's first event

	alarmCounter, alarmValue, alarmTest, alarmDelta, alarmEvents = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 5
	alarmUpwards, alarmDownwards                                 = 0, 1 // transitions of the counter
)

// ErrNoIdleTime says that a server cannot push, and has to be polled.
var ErrNoIdleTime = errors.New("the X server has no IDLETIME counter")

// idleAlarms has the X server itself watch the time since the last input.
//
// Both alarms stand for as long as the connection does: the one when the time reaches the quiet
// time, the other when it falls back below, which is the first input after that. The first is also
// what has the server notice that the counter was above, without which some never see it fall.
type idleAlarms struct {
	x           *Conn
	sync, event byte
	counter     uint32
	quiet, back uint32 // ids of the alarms
}

// newIdleAlarms sets the alarms, and returns how long there has been no input.
func newIdleAlarms(x *Conn, quiet time.Duration) (*idleAlarms, time.Duration, error) {
	major, first, ok, err := x.Extension("SYNC")
	if err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, ErrNoIdleTime
	}
	a := &idleAlarms{x: x, sync: major, event: first + alarmNotify}
	if _, err := x.call(a.sync, syncInitialize, []byte{3, 1, 0, 0}, replyHead); err != nil {
		return nil, 0, fmt.Errorf("start SYNC: %w", err)
	}
	msg, err := x.call(a.sync, syncListCounters, nil, replyHead)
	if err != nil {
		return nil, 0, fmt.Errorf("list counters: %w", err)
	}
	if a.counter, err = findCounter(msg, "IDLETIME"); err != nil {
		return nil, 0, err
	}
	// A counter that is read at exactly the quiet time has not fallen when it was there before, so
	// the way back starts a millisecond lower.
	if a.quiet, err = a.alarm(quiet, alarmUpwards); err != nil {
		return nil, 0, err
	}
	if a.back, err = a.alarm(quiet-time.Millisecond, alarmDownwards); err != nil {
		return nil, 0, err
	}
	idle, err := a.idle() // after the alarms: a quiet time reached in between is not missed
	return a, idle, err
}

// alarm creates an alarm for the counter's passing at. It stays after it went off, since its delta
// is zero and its test a transition.
func (a *idleAlarms) alarm(at time.Duration, test uint32) (uint32, error) {
	id := a.x.newID()
	body := le.AppendUint32(nil, id)
	body = le.AppendUint32(body, alarmCounter|alarmValue|alarmTest|alarmDelta|alarmEvents)
	body = le.AppendUint32(body, a.counter)
	body = appendInt64(body, at.Milliseconds())
	body = le.AppendUint32(body, test)
	body = appendInt64(body, 0)
	body = le.AppendUint32(body, 1)
	return id, a.x.Send(a.sync, syncCreateAlarm, body)
}

// idle asks how long there has been no input.
func (a *idleAlarms) idle() (time.Duration, error) {
	msg, err := a.x.call(a.sync, syncQueryCounter, le.AppendUint32(nil, a.counter), replyHead)
	if err != nil {
		return 0, fmt.Errorf("query IDLETIME: %w", err)
	}
	return millis(msg[8:]), nil
}

// wait waits for the next alarm. It tells whether input came back or ended, and in the second case
// how long ago.
func (a *idleAlarms) wait(ctx context.Context) (back bool, idle time.Duration, err error) {
	for {
		msg, err := a.x.next()
		if err != nil {
			return false, 0, err
		}
		if msg[0]&0x7f != a.event {
			continue
		}
		switch le.Uint32(msg[4:]) {
		case a.back:
			return true, 0, nil
		case a.quiet:
			return false, millis(msg[8:]), a.nudge(ctx, millis(msg[8:]), millis(msg[16:]))
		}
	}
}

// nudge has a server look again that went by an alarm at the very millisecond for which it was set. For such a one X.Org's
// (21.1) waits still, since a second one could follow, and forgets meanwhile to wake for later alarms: those of the screen
// locker, and those of others that watch as this does. Any request makes it look.
func (a *idleAlarms) nudge(ctx context.Context, idle, alarm time.Duration) error {
	if idle != alarm {
		return nil
	}
	const next = 2 * time.Millisecond // and then the time is another
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(next):
	}
	_, err := a.idle()
	return err
}

// findCounter finds a system counter in a reply to ListSystemCounters.
func findCounter(msg []byte, name string) (uint32, error) {
	if len(msg) < replyHead {
		return 0, errShort
	}
	left := le.Uint32(msg[8:])
	for b := msg[replyHead:]; left > 0; left-- {
		if len(b) < 14 {
			return 0, errShort
		}
		size := 14 + int(le.Uint16(b[12:]))
		if len(b) < size {
			return 0, errShort
		}
		if string(b[14:size]) == name {
			return le.Uint32(b), nil
		}
		b = b[min(len(b), size+pad4(size)):]
	}
	return 0, ErrNoIdleTime
}

// appendInt64 appends SYNC's 64-bit integer, whose upper half comes first.
func appendInt64(b []byte, v int64) []byte {
	b = le.AppendUint32(b, uint32(v>>32))
	return le.AppendUint32(b, uint32(v))
}

// millis reads SYNC's 64-bit integer of milliseconds.
func millis(b []byte) time.Duration {
	const most = 1 << 40 // a counter beyond 35 years is nonsense, and would overflow
	v := int64(le.Uint32(b))<<32 | int64(le.Uint32(b[4:]))
	return time.Duration(max(0, min(v, most))) * time.Millisecond
}

// screenSaver asks the older extension, which can only be polled.
type screenSaver struct {
	x     *Conn
	major byte
}

func newScreenSaver(x *Conn) (*screenSaver, error) {
	major, _, ok, err := x.Extension("MIT-SCREEN-SAVER")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the X server has neither an IDLETIME counter nor MIT-SCREEN-SAVER")
	}
	return &screenSaver{x: x, major: major}, nil
}

func (s *screenSaver) idle() (time.Duration, error) {
	const queryInfo = 1
	msg, err := s.x.call(s.major, queryInfo, le.AppendUint32(nil, s.x.setup.root), replyHead)
	if err != nil {
		return 0, fmt.Errorf("query screen saver: %w", err)
	}
	return time.Duration(le.Uint32(msg[16:])) * time.Millisecond, nil
}
