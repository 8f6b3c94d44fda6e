package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"skua/internal/transfer"
)

// meter is a line on a terminal that says how far something is, and is drawn over itself. It is a few
// lines of our own because that is all it has to do: no module draws one line better, and each brings a
// goroutine that somebody must end.
type meter struct {
	w     io.Writer
	width int // of the terminal
	what  string
	begin time.Time
	shown time.Time // when it was last drawn; zero if it is not on the screen
}

// meter gives a meter, or nil, which shows nothing, where there is no terminal to draw on.
func (a *app) meter(what string) *meter {
	width := terminalWidth(a.err)
	if width == 0 {
		return nil
	}
	return &meter{w: a.err, width: width, what: what, begin: time.Now()}
}

// progress shows how far a transfer is on a terminal; elsewhere it is nil.
func (a *app) progress(what string) transfer.Progress {
	m := a.meter(what)
	if m == nil {
		return nil
	}
	return m.bytes
}

// redraw is how often the progress of a transfer is drawn at most.
const redraw = 100 * time.Millisecond

// bytes shows that done of total bytes have been moved. The line goes away with the last one.
func (m *meter) bytes(done, total int64) {
	if done >= total {
		m.clear()
		return
	}
	now := time.Now()
	if now.Sub(m.shown) < redraw {
		return
	}
	took := now.Sub(m.begin)
	rest := ""
	if rate := float64(done) / took.Seconds(); done > 0 && took > time.Second {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		rest = fmt.Sprintf("%s/s  %s left", amount(int64(rate)), left.Round(time.Second))
	}
	m.draw(float64(done)/float64(total), fmt.Sprintf("%s of %s", amount(done), amount(total)), rest)
}

// jobs shows that done of total jobs have ended; rest is what else there is to say.
func (m *meter) jobs(done, total int, rest string) {
	if m == nil || total == 0 {
		return
	}
	m.draw(float64(done)/float64(total), fmt.Sprintf("%d of %d jobs", done, total), rest)
}

func (m *meter) draw(part float64, text, rest string) {
	m.shown = time.Now()
	io.WriteString(m.w, "\r"+meterLine(m.width, m.what, part, text, rest)+"\x1b[K")
}

// meterLine is a meter's line in a terminal of that width. What does not fit is left out, the bar first.
func meterLine(width int, what string, part float64, text, rest string) string {
	const longest, shortest = 40, 8
	head := fmt.Sprintf("%s %3.0f%%", what, 100*min(max(part, 0), 1))
	tail := text
	if rest != "" {
		tail += "  " + rest
	}
	room := width - 1 - utf8.RuneCountInString(head) - utf8.RuneCountInString(tail) - len(" [] ")
	if room < shortest {
		return cut(head+" "+tail, width-1, 0)
	}
	n := min(room, longest)
	full := int(part * float64(n))
	return fmt.Sprintf("%s [%s%s] %s", head, strings.Repeat("=", full), strings.Repeat(" ", n-full), tail)
}

// clear takes the line off the screen. It may be drawn again.
func (m *meter) clear() {
	if m != nil && !m.shown.IsZero() {
		io.WriteString(m.w, "\r\x1b[K")
		m.shown = time.Time{}
	}
}

// amount writes a number of bytes for people.
func amount(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if v < 999.5 { // what is more would be rounded to 1e+03
			return fmt.Sprintf("%.3g %s", v, unit)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.0f TB", v)
}
