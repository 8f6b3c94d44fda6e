package why

import (
	"fmt"
	"time"
)

// Misfit is something that a job's checkpoint needs and that machines lack which meet the job's requirements.
type Misfit struct {
	Machines int `json:"machines"` // that lack it

	Features []string `json:"features,omitempty"` // of the processor that it was made on, or
	File     string   `json:"file,omitempty"`     // a file of the system, which is another one there
	More     int      `json:"more,omitempty"`     // how many further files are others

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
			text += " was made " + m.words(w.of(m.Machines, i == 0))
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

// words say what is lacking on the machines named.
func (m Misfit) words(on string) string {
	one := m.Machines == 1
	if m.File == "" {
		verb := "lack"
		if one {
			verb = "lacks"
		}
		return fmt.Sprintf("on a processor with %s, which %s %s", listed(m.Features, 4), on, verb)
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
	return fmt.Sprintf("with another %s%s than %s %s", m.File, more, on, verb)
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
