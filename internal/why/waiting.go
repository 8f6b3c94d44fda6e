// Package why holds what people are told about jobs that do not run, and the sentences that tell it.
//
// The matchmaker fills in the facts ([Waiting], [Explanation]), which travel as JSON; commands make the
// sentences, in the time zone of whoever reads them. The first sentence is the answer: one clause, in
// plain words, with what would change it where something would. Everything else is detail.
//
// The package decides nothing and asks nobody.
package why

import (
	"fmt"
	"strings"
	"time"
)

// Waiting says why a job was not matched, counted in machines. A machine with several slots counts once,
// for the slot that comes closest.
type Waiting struct {
	At       int64 `json:"at"` // when that was found; this and all times are in Unix seconds
	Machines int   `json:"machines"`

	Unsuited int `json:"unsuited,omitempty"` // do not meet the job's Requirements
	Unfit    int `json:"unfit,omitempty"`    // meet them, but not what its checkpoint needs
	Unable   int `json:"unable,omitempty"`   // cannot run any jobs
	Unwanted int `json:"unwanted,omitempty"` // their START does not accept the job
	Closed   int `json:"closed,omitempty"`   // suit, but their policy's hours are over
	Owner    int `json:"owner,omitempty"`    // suit, but are in use by their owners: Paused and Busy among them
	Claimed  int `json:"claimed,omitempty"`  // suit, but have other jobs
	Crowded  int `json:"crowded,omitempty"`  // suit as a whole, but other jobs leave too little of them
	Resting  int `json:"resting,omitempty"`  // suit, but gave back an offer or a job a moment ago
	Free     int `json:"free,omitempty"`     // suit, and something other than machines is in the way

	// Clause is a part of the job's Requirements, or of its checkpoint's, that no machine meets, if there is such a
	// part. Without is how many machines would match if it were not there.
	Clause  string    `json:"clause,omitempty"`
	Without int       `json:"without,omitempty"`
	Missing string    `json:"missing,omitempty"` // a name in the clause that no machine has as an attribute
	Meant   string    `json:"meant,omitempty"`   // and the attribute that is almost called so
	Void    *Void     `json:"void,omitempty"`    // an attribute of the job in the clause that has no value
	Short   *Shortage `json:"short,omitempty"`   // what the clause asks too much of, if it is about a size

	// Misfits are why the unfit machines are, the most frequent reason
	// first. StartsOver is when the job begins again without that checkpoint if it stays so; 0 for never.
	Misfits    []Misfit `json:"misfits,omitempty"`
	StartsOver int64    `json:"starts_over,omitempty"`

	// Of those that are their owners', Paused have been paused by the person there, the first until PausedUntil, and
	// nobody sits at the Busy ones.
	Paused      int   `json:"paused,omitempty"`
	PausedUntil int64 `json:"paused_until,omitempty"`
	Busy        *Busy `json:"busy,omitempty"`

	OpensAt  int64  `json:"opens_at,omitempty"` // when the first of the closed machines opens; 0 if nobody knows
	Reason   string `json:"reason,omitempty"`   // why one of those that cannot run jobs cannot
	Deferred int64  `json:"deferred,omitempty"` // the job is not to start before
	Again    int64  `json:"again,omitempty"`    // it ran a moment ago, and is not to be tried again before
	Limit    *Limit `json:"limit,omitempty"`    // a concurrency limit that is full
	Room     *Room  `json:"room,omitempty"`     // what is left of the crowded machine that comes closest

	// Ahead are the users who have the machines that match, if each of them has a better priority than
	// the job's user. Own says that it is the user's own jobs that have them.
	Ahead []string `json:"ahead,omitempty"`
	Own   bool     `json:"own,omitempty"`
}

// Busy are machines that are kept busy by other programs than jobs.
type Busy struct {
	Machines int     `json:"machines"`
	Load     float64 `json:"load"`    // that these make on the one where it is least
	Allowed  float64 `json:"allowed"` // by the policy of that one
}

func (b *Busy) String() string {
	return fmt.Sprintf("load %s, %s allowed", number(b.Load), number(b.Allowed))
}

// used is how many machines are in use by somebody who sits there.
func (w *Waiting) used() int { return w.Owner - w.Paused - w.busy() }

func (w *Waiting) busy() int {
	if w.Busy == nil {
		return 0
	}
	return w.Busy.Machines
}

// Shortage is a size that is asked for and that no machine has which suits otherwise.
type Shortage struct {
	What    Resource `json:"what"`
	Asked   float64  `json:"asked"`
	Too     int      `json:"too_little"`     // how many machines have too little
	Suit    int      `json:"suit,omitempty"` // how many suit otherwise
	Largest float64  `json:"largest"`        // what the largest of those offers, or of all if none does
	Try     float64  `json:"try,omitempty"`
	Matches int      `json:"matches,omitempty"` // how many machines would match if Try were asked for
}

// Void is an attribute of the job that has no value on any machine.
type Void struct {
	Attr string `json:"attr"`
	Text string `json:"text"` // its expression
	For  string `json:"for"`  // a value such as it should have
}

// Limit is a concurrency limit.
type Limit struct {
	Name string  `json:"name"`
	Cap  float64 `json:"cap"`
	Used float64 `json:"used"`
	Full bool    `json:"full,omitempty"`
}

// Sentence says it in one sentence, without a full stop.
func (w *Waiting) Sentence(loc *time.Location) string {
	suited := w.suited()
	switch {
	case w.Deferred > 0:
		return "deferred: it is not to start before " + moment(w.Deferred, w.At, loc)
	case w.Machines == 0:
		return "no machine is in the pool"
	case w.Again > 0:
		return fmt.Sprintf("it ran a moment ago and is tried again in %d s", max(w.Again-w.At, 1))
	case w.Free > 0 && w.Limit != nil:
		return fmt.Sprintf("the concurrency limit %s is full: %s of %s in use", w.Limit.Name, number(w.Limit.Used), number(w.Limit.Cap))
	case w.Free == w.Machines && w.Free == 1:
		return "the pool's one machine is free for it"
	case suited == 0:
		return w.nowhere(loc)
	}
	text := w.uses(suited, loc)
	if w.Room != nil {
		text += ": " + w.Room.String()
	}
	if w.Unwanted > 0 {
		text += fmt.Sprintf("; START refuses the job on %d more", w.Unwanted)
	}
	return text + w.beside()
}

// Stuck reports whether nothing but its checkpoint keeps the job from every machine.
func (w *Waiting) Stuck() bool { return w.Unfit > 0 && w.Unsuited+w.Unfit == w.Machines }

// Nowhere reports whether no machine could run the job, whatever its owner or other jobs did.
func (w *Waiting) Nowhere() bool {
	return w.Machines > 0 && w.Deferred == 0 && w.Again == 0 && w.suited() == 0
}

func (w *Waiting) suited() int {
	return w.Closed + w.Owner + w.Claimed + w.Crowded + w.Resting + w.Free
}

// nowhere is the sentence for a job that no machine could run, whatever its owner or other jobs did.
func (w *Waiting) nowhere(loc *time.Location) string {
	switch {
	case w.Unfit > 0 && w.Unwanted == 0 && w.Unable == 0:
		return w.unfit() + w.startsOver(loc)
	case w.Unwanted > 0:
		return fmt.Sprintf("no machine accepts the job now: %s, but START refuses it there",
			machines(w.Unwanted, "meets the job's requirements", "meet the job's requirements")) + w.beside()
	case w.Unable > 0:
		text := "no machine can run it: " + machines(w.Unable, "meets the job's requirements, but can run no jobs", "meet the job's requirements, but can run no jobs")
		if w.Reason != "" {
			text += " (" + shorten(w.Reason) + ")"
		}
		return text + w.beside()
	case w.Short != nil:
		return w.Short.sentence(w.Machines)
	case w.Clause != "" && w.Machines == 1:
		return fmt.Sprintf("the pool's one machine does not match: %s is not true there", shorten(w.Clause)) + w.misspelt() + w.dropping()
	case w.Clause != "":
		return fmt.Sprintf("no machine matches: %s is true on none of the %d machines", shorten(w.Clause), w.Machines) + w.misspelt() + w.dropping()
	case w.Machines == 1:
		return "the pool's one machine does not meet all of the job's requirements"
	}
	return fmt.Sprintf("no machine matches: none of the %d machines meets all of the job's requirements", w.Machines)
}

func (w *Waiting) misspelt() string {
	switch {
	case w.Void != nil:
		return fmt.Sprintf(": %s comes to nothing, since %s has no value", w.Void.Attr, shorten(w.Void.Text))
	case w.Missing == "":
		return ""
	}
	return fmt.Sprintf(": no machine has an attribute %s (%s?)", w.Missing, w.Meant)
}

func (w *Waiting) dropping() string {
	switch {
	case w.Without == 0:
		return ""
	case w.Machines == 1:
		return "; without that it would match"
	}
	return fmt.Sprintf("; dropping it would match %d", w.Without)
}

// uses says what the machines do that match.
func (w *Waiting) uses(suited int, loc *time.Location) string {
	if w.Closed == suited {
		until := ""
		if w.OpensAt > 0 {
			until = " until " + moment(w.OpensAt, w.At, loc)
		}
		if suited == 1 {
			return "policy hours are closed" + until + " on the only machine that matches"
		}
		return fmt.Sprintf("policy hours are closed%s on all %d machines that match", until, suited)
	}
	var uses []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			uses = append(uses, "1 "+one)
		case n > 1:
			uses = append(uses, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(w.used(), "is in use by its owner", "are in use by their owners")
	if w.Paused > 0 {
		by := "paused by the person there until " + moment(w.PausedUntil, w.At, loc)
		add(w.Paused, "is "+by, "are "+by)
	}
	if w.Busy != nil {
		by := fmt.Sprintf("kept busy by other programs (%v)", w.Busy)
		add(w.Busy.Machines, "is "+by, "are "+by)
	}
	switch of := listed(w.Ahead, 3) + ", whose priority is better"; {
	case len(w.Ahead) > 0:
		add(w.Claimed, "has a job of "+of, "have jobs of "+of)
		add(w.Crowded, "has too little left beside jobs of "+of, "have too little left beside jobs of "+of)
	case w.Own:
		add(w.Claimed, "has another job of its user", "have other jobs of its user")
		add(w.Crowded, "has too little left beside other jobs of its user", "have too little left beside other jobs of its user")
	default:
		add(w.Claimed, "has another job", "have other jobs")
		add(w.Crowded, "has too little left beside other jobs", "have too little left beside other jobs")
	}
	until := "outside its hours"
	if w.OpensAt > 0 {
		until = "closed until " + moment(w.OpensAt, w.At, loc)
	}
	add(w.Closed, "is "+until, "are "+strings.Replace(until, "its", "their", 1))
	add(w.Resting, "gave a job back a moment ago", "gave a job back a moment ago")
	add(w.Free, "is free", "are free")
	_, rest, _ := strings.Cut(uses[0], " ")
	switch {
	case suited == 1:
		return "the only machine that matches " + rest
	case len(uses) == 1:
		return fmt.Sprintf("all %d machines that match %s", suited, rest)
	}
	return fmt.Sprintf("of the %d machines that match, %s", suited, listed(uses, len(uses)))
}

// sentence says that no machine has as much as the job asks for.
func (s *Shortage) sentence(all int) string {
	text := fmt.Sprintf("no machine has enough %s for the %s that the job asks for: ", s.What.noun(), s.What.Amount(s.Asked))
	largest := "the largest"
	switch {
	case all == 1:
		text += "the pool's one machine offers " + s.What.Amount(s.Largest)
	default:
		if s.Suit > 0 && s.Suit < all {
			largest = fmt.Sprintf("the largest of the %d that suit otherwise", s.Suit)
		}
		if s.Suit == 1 && all > 1 {
			largest = "the one that suits otherwise"
		}
		text += machines(s.Too, "has", "have") + " too little, " + largest + " offers " + s.What.Amount(s.Largest)
	}
	if s.Matches > 0 {
		text += fmt.Sprintf("; asking for %s would match %d", s.What.Amount(s.Try), s.Matches)
	}
	return text
}
