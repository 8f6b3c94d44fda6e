package why

import (
	"fmt"
	"time"
)

// Misfit is what keeps a job from going on from its checkpoint on machines that meet the job's requirements.
type Misfit struct {
	Machines int `json:"machines"` // of which it is true

	Features []string `json:"features,omitempty"` // of the processor that it was made on, which they lack, or
	File     string   `json:"file,omitempty"`     // a file of the system, which is another one there, or
	More     int      `json:"more,omitempty"`     // how many further files are others
	Failed   bool     `json:"failed,omitempty"`   // it has been tried there, and that failed

	Beyond string `json:"beyond,omitempty"` // why the job's programs do not keep to its cpu_baseline, which would help
}

// unfit is the sentence for a job that no machine could go on with from its checkpoint.
func (w *Waiting) unfit() string {
	if len(w.Misfits) > 0 {
		text := "its checkpoint"
		for i, m := range w.Misfits {
			if i > 0 {
				text += ", and it"
			}
			text += " " + m.words(w.of(m.Machines, i == 0))
		}
		for _, m := range w.Misfits {
			if m.Beyond != "" {
				text += "; its cpu_baseline is not kept, since " + m.Beyond
			}
		}
		return text
	}
	text := "its checkpoint fits no machine that is now in the pool"
	switch {
	case w.Clause == "":
	case w.Unfit == 1:
		text += ": " + shorten(w.Clause) + " is not true on the one that meets the job's requirements"
	default:
		text += fmt.Sprintf(": %s is true on none of the %d that meet the job's requirements", shorten(w.Clause), w.Unfit)
	}
	return text
}

// beside says how many machines the checkpoint keeps the job from, where others are named first.
func (w *Waiting) beside() string {
	if w.Unfit == 0 {
		return ""
	}
	return fmt.Sprintf("; its checkpoint does not fit %d more", w.Unfit)
}

// details are the lines that say what [Waiting.beside] only counts.
func (w *Waiting) details(d *details) {
	if w.suited()+w.Unwanted+w.Unable == 0 {
		return // the sentence says it
	}
	for _, m := range w.Misfits {
		on := fmt.Sprintf("%d of the %d machines that it does not fit", m.Machines, w.Unfit)
		if w.Unfit == 1 {
			on = "the one machine that it does not fit"
		}
		d.line("its checkpoint %s", m.words(on))
	}
}

// words say what is in the way on the machines named, of the checkpoint.
func (m Misfit) words(on string) string {
	one := m.Machines == 1
	if m.Failed {
		return "could not be restored on " + on
	}
	if m.File == "" {
		verb := "lack"
		if one {
			verb = "lacks"
		}
		return fmt.Sprintf("was made on a processor with %s, which %s %s", listed(m.Features, 4), on, verb)
	}
	more := ""
	switch {
	case m.More == 1:
		more = " (and another file)"
	case m.More > 1:
		more = fmt.Sprintf(" (and %d other files)", m.More)
	}
	verb := "have"
	if one {
		verb = "has"
	}
	return fmt.Sprintf("was made with another %s%s than %s %s", m.File, more, on, verb)
}

// of counts machines among those that meet the job's requirements.
func (w *Waiting) of(n int, first bool) string {
	switch {
	case w.Machines == 1:
		return "the pool's one machine"
	case w.Unfit == 1:
		return "the one machine that meets the job's requirements"
	case !first || w.Unfit == w.Machines:
		return fmt.Sprintf("%d of %d machines", n, w.Unfit)
	}
	return fmt.Sprintf("%d of the %d machines that meet the job's requirements", n, w.Unfit)
}

// startsOver says when the job gives up its checkpoint.
func (w *Waiting) startsOver(loc *time.Location) string {
	switch {
	case w.StartsOver == 0:
		return ""
	case w.StartsOver <= w.At:
		return "; it is about to start over (restart_after)"
	}
	return fmt.Sprintf("; if that stays so it starts over at %s (restart_after)", moment(w.StartsOver, w.At, loc))
}
