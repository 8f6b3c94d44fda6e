package why

import (
	"fmt"
	"strings"
	"time"
)

// Explanation is all that can be told about why one job does not run, or does. Times are in Unix seconds.
type Explanation struct {
	Job   string `json:"job"`
	State string `json:"state"` // HTCondor's name for it, such as Idle
	At    int64  `json:"at"`    // when the explanation was made

	Waiting  *Waiting  `json:"waiting,omitempty"`  // of an idle job that has no machine
	Clauses  []Clause  `json:"clauses,omitempty"`  // of its Requirements, in order
	Refusals []Refusal `json:"refusals,omitempty"` // what START says on machines that suit
	Changes  []Change  `json:"changes,omitempty"`  // that would make machines match, the smallest first
	Limits   []Limit   `json:"limits,omitempty"`   // the concurrency limits that it counts against
	Share    *Share    `json:"share,omitempty"`    // its user's place among users

	Run       *Run    `json:"run,omitempty"`  // of a job that has a machine, or an offer of one
	Hold      *Hold   `json:"hold,omitempty"` // of a held job
	Ended     *Ended  `json:"ended,omitempty"`
	Evictions int     `json:"evictions,omitempty"`
	Last      *Lately `json:"last,omitempty"` // why it last stopped running
}

// Clause is a part of the job's Requirements.
type Clause struct {
	Text       string `json:"text"`
	Meet       int    `json:"meet"`                 // machines that meet it
	Alone      int    `json:"alone,omitempty"`      // machines that meet all the others and not this one
	Implicit   bool   `json:"implicit,omitempty"`   // not of the job's Requirements: what machines ask of every job
	Checkpoint bool   `json:"checkpoint,omitempty"` // not of them either: what its checkpoint needs
	Offers     string `json:"offers,omitempty"`     // the most that any machine which suits otherwise has
	Asked      string `json:"asked_for,omitempty"`  // what the clause asks for
}

// Refusal is a part of START that is not true for the job on some machines.
type Refusal struct {
	Clause   string `json:"clause"`
	Machines int    `json:"machines"`
	Such     string `json:"such"` // one of them
}

// Change is something that, changed in the job, makes machines match. Each has been tried.
type Change struct {
	Edits   []Edit `json:"edits"`
	Matches int    `json:"matches"` // how many machines then match
}

// Edit drops a clause of the Requirements, or replaces it, or sets an attribute to a smaller number.
type Edit struct {
	Drop string `json:"drop,omitempty"` // the clause to drop, or to replace by With
	With string `json:"with,omitempty"`

	Set  string   `json:"set,omitempty"` // the attribute to set
	From float64  `json:"from,omitempty"`
	To   float64  `json:"to,omitempty"`
	What Resource `json:"what,omitempty"` // of From and To
}

func (e Edit) String() string {
	switch {
	case e.Set != "":
		return fmt.Sprintf("asking for %s instead of %s (%s=%s)", e.What.Amount(e.To), e.What.Amount(e.From), e.Set, number(e.To))
	case e.With != "":
		return fmt.Sprintf("requiring %s instead of %s", shorten(e.With), shorten(e.Drop))
	}
	return "dropping " + shorten(e.Drop)
}

// Share is a user's place in the order of fair share.
type Share struct {
	Place     int     `json:"place"` // from 1, the first to be served
	Of        int     `json:"of"`    // users who have jobs
	Effective float64 `json:"effective"`
	Real      float64 `json:"real"`
	Factor    float64 `json:"factor"`
	Slots     int     `json:"slots"`          // that the user has
	Nice      bool    `json:"nice,omitempty"` // the job comes after those of all others
	Ahead     []User  `json:"ahead,omitempty"`
	More      int     `json:"more,omitempty"` // how many more are ahead
}

// User is somebody with a better priority.
type User struct {
	Name      string  `json:"name"`
	Effective float64 `json:"effective"`
	Slots     int     `json:"slots"`
	Waiting   int     `json:"waiting"` // jobs
}

// Run is where a job is.
type Run struct {
	Slot      string `json:"slot"`
	Since     int64  `json:"since,omitempty"`
	Offered   bool   `json:"offered,omitempty"`   // the machine has not answered yet
	Planned   bool   `json:"planned,omitempty"`   // it is about to be offered to it
	Ending    bool   `json:"ending,omitempty"`    // it was taken from it, which has not said yet that nothing runs there any more
	Suspended int64  `json:"suspended,omitempty"` // since when it stands still
	Reason    string `json:"reason,omitempty"`    // why it does
	NoImage   string `json:"no_image,omitempty"`  // why it cannot be checkpointed as it is, as far as is known
}

// Hold is why a job is held.
type Hold struct {
	Reason  string `json:"reason"`
	Code    int    `json:"code"` // HTCondor's HoldReasonCode
	SubCode int    `json:"sub_code,omitempty"`
	Since   int64  `json:"since"`
	Try     int64  `json:"try_memory,omitempty"` // the RequestMemory to try, if it had too little
	Recurs  bool   `json:"recurs,omitempty"`     // it has missed its time, and its cron_... commands give it another
}

// Ended is how a job left the queue.
type Ended struct {
	At     int64  `json:"at"`
	Reason string `json:"reason,omitempty"` // why it was removed
	Code   int    `json:"exit_code"`
	Signal int    `json:"signal,omitempty"`
}

// Lately is why a job last stopped running.
type Lately struct {
	Reason string `json:"reason"`
	Slot   string `json:"slot,omitempty"`
}

// Sentence is the answer in one sentence, without a full stop.
func (e *Explanation) Sentence(loc *time.Location) string {
	switch r := e.Run; {
	case e.Hold != nil:
		return e.Hold.sentence()
	case e.Ended != nil:
		return e.Ended.sentence(e.State, e.At, loc)
	case r == nil && e.Waiting != nil:
		text := e.Waiting.Sentence(loc)
		if w := e.Waiting; w.Claimed+w.Crowded > 0 && w.Claimed+w.Crowded == w.suited() && len(w.Ahead) == 0 && e.Share != nil && e.Share.Of > 1 {
			text += fmt.Sprintf("; its user's place in line is %d of %d", e.Share.Place, e.Share.Of)
		}
		return text
	case r == nil:
		return "it waits for the matchmaker"
	case r.Ending:
		return fmt.Sprintf("its last run, on %s, is being ended; it waits until that machine has said so or its lease is over", r.Slot)
	case r.Planned:
		return "it is about to be offered to " + r.Slot
	case r.Offered:
		return "it has been offered to " + r.Slot
	case r.Suspended > 0:
		text := fmt.Sprintf("running on %s, but suspended since %s", r.Slot, moment(r.Suspended, e.At, loc))
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		return text
	default:
		return fmt.Sprintf("running on %s since %s", r.Slot, moment(r.Since, e.At, loc))
	}
}

func (x *Ended) sentence(state string, now int64, loc *time.Location) string {
	at := moment(x.At, now, loc)
	switch {
	case state == "Removed" && x.Reason != "":
		return "removed at " + at + ": " + x.Reason
	case state == "Removed":
		return "removed at " + at
	case x.Signal != 0:
		return fmt.Sprintf("completed at %s: signal %d ended it", at, x.Signal)
	}
	return fmt.Sprintf("completed at %s with exit code %d", at, x.Code)
}

// Details are the lines below the sentence. Those that begin with two blanks belong to the one before.
func (e *Explanation) Details(loc *time.Location) []string {
	var d details
	if e.Run != nil && e.Run.NoImage != "" {
		d.line("as it is it cannot be checkpointed: %s", e.Run.NoImage)
	}
	if e.Hold != nil {
		d.line("held since %s, code %d", moment(e.Hold.Since, e.At, loc), e.Hold.Code)
		d.line("%s", e.Hold.remedy(e.Job))
	}
	if w := e.Waiting; w != nil && w.Machines > 0 {
		d.line("of the pool's %s:", strings.TrimSpace(machines(w.Machines, "", "")))
		for _, c := range []struct {
			n    int
			what string
		}{
			{w.Unsuited, "not meeting its requirements"},
			{w.Unfit, "not fit for its checkpoint"},
			{w.Unable, "not able to run jobs"},
			{w.Unwanted, "not accepting it (START)"},
			{w.Closed, "outside the hours of their policy"},
			{w.used(), "in use by their owners"},
			{w.Paused, "paused by the person there"},
			{w.busy(), "kept busy by other programs"},
			{w.Claimed, "with other jobs"},
			{w.Crowded, "with too little left beside other jobs"},
			{w.Resting, "that gave a job back a moment ago"},
			{w.Free, "free"},
		} {
			if c.n > 0 {
				d.line("  %4d %s", c.n, c.what)
			}
		}
		w.details(&d)
	}
	if e.needsClauses() {
		d.line("its requirements, and how many machines meet each part:")
		for _, c := range e.Clauses {
			d.line("  %4d %s%s", c.Meet, shorten(c.Text), c.remark())
		}
	}
	if len(e.Refusals) > 0 {
		d.line("START on machines that suit:")
		for _, r := range e.Refusals {
			d.line("  %4d %s is not true, as on %s", r.Machines, shorten(r.Clause), r.Such)
		}
	}
	if e.Waiting != nil && e.Waiting.Void != nil {
		d.line("give it a value: skua edit %s %s=%s", e.Job, e.Waiting.Void.Attr, e.Waiting.Void.For)
	}
	if len(e.Changes) > 0 {
		d.line("what would make it match:")
		for _, c := range e.Changes {
			d.line("  %s", c)
		}
	}
	for _, l := range e.Limits {
		d.line("concurrency limit %s: %s", l.Name, l.use())
	}
	if e.Share != nil && e.Waiting != nil && e.Waiting.suited() > 0 {
		e.Share.details(&d)
	}
	if e.Last != nil {
		times := ""
		switch {
		case e.Evictions == 1:
			times = "evicted once; "
		case e.Evictions > 1:
			times = fmt.Sprintf("evicted %d times; ", e.Evictions)
		}
		where := ""
		if e.Last.Slot != "" {
			where = " on " + e.Last.Slot
		}
		reason := ": " + e.Last.Reason
		if e.Hold != nil && e.Hold.Reason == e.Last.Reason { // the sentence says it
			reason = ""
		}
		d.line("%slast stopped%s%s", times, where, reason)
	}
	return d
}

func (c Change) String() string {
	var parts []string
	for _, e := range c.Edits {
		parts = append(parts, e.String())
	}
	return fmt.Sprintf("%s: %s", strings.Join(parts, " and "), machines(c.Matches, "would match", "would match"))
}

type details []string

func (d *details) line(format string, args ...any) {
	*d = append(*d, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// needsClauses reports whether machines are missing because of what the job requires.
func (e *Explanation) needsClauses() bool {
	return e.Waiting != nil && e.Waiting.Unsuited+e.Waiting.Unfit > 0 && len(e.Clauses) > 0
}

func (c Clause) remark() string {
	var parts []string
	if c.Checkpoint {
		parts = append(parts, "for its checkpoint")
	}
	if c.Asked != "" {
		parts = append(parts, "it asks for "+c.Asked)
	}
	if c.Offers != "" {
		parts = append(parts, "the most is "+c.Offers)
	}
	if c.Alone > 0 {
		parts = append(parts, fmt.Sprintf("alone keeps out %d", c.Alone))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (l Limit) use() string {
	if l.Cap < 0 {
		return number(l.Used) + " in use, no limit"
	}
	return fmt.Sprintf("%s of %s in use", number(l.Used), number(l.Cap))
}

func (s *Share) details(d *details) {
	nice := ""
	if s.Nice {
		nice = "; as a nice job it comes after those of everybody else"
	}
	d.line("its user's place in line is %d of %d: effective priority %.2f (real %.2f, factor %s; less is better), %d in use%s",
		s.Place, s.Of, s.Effective, s.Real, number(s.Factor), s.Slots, nice)
	for _, u := range s.Ahead {
		d.line("  ahead: %s, %.2f, %d in use, %d waiting", u.Name, u.Effective, u.Slots, u.Waiting)
	}
	if s.More > 0 {
		d.line("  ahead: %d more", s.More)
	}
}
