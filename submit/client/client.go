// Package client is a user's side of the conversation with the matchmaker: it submits jobs, asks about
// them, acts on them, follows their events, and moves their files.
//
// A call either says that something is done, or gives an error that is fit for the person who asked.
// What may be repeated without harm is repeated by itself: a submit carries a random name under which
// the matchmaker knows it again. The package prints nothing, starts nothing in the background, and
// keeps no state but the membership that it finds in the user's [Home].
package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/internal/transfer"
	"skua/internal/wire"
)

// Config is what a Client is made of. Fields marked required have no default.
type Config struct {
	User job.UserID // required: the id that the matchmaker issued
	Conn bus.Conn   // required; the client closes it
	Pool string     // address of the pool, for messages

	// Files gives the file service when it is first needed, since most commands never need it; nil
	// means that no files can be moved.
	Files func() (Files, error)

	Patience time.Duration // how long one request may take; 0 means 10 s
	Poll     time.Duration // how often Follow asks though it was told nothing; 0 means 30 s

	// Trouble is told what Follow could not do and tries again, each thing once; nil means nobody is.
	Trouble func(error)
}

// Files is the pool's file service.
type Files interface {
	Put(ctx context.Context, capability string, d blob.Digest, size int64, r io.ReaderAt, progress transfer.Progress) error
	GetFile(ctx context.Context, capability string, d blob.Digest, path string, mode fs.FileMode, progress transfer.Progress) (int64, error)
	Bytes(ctx context.Context, capability string, d blob.Digest, limit int64) ([]byte, error)
}

// Client speaks for one user. Its methods may be called concurrently, but for [Client.Follow], of
// which one may run at a time.
type Client struct {
	cfg Config

	opening sync.Mutex
	files   Files // guarded by opening; nil until it is needed
}

// New makes a Client.
func New(cfg Config) (*Client, error) {
	if cfg.User == "" || cfg.Conn == nil {
		return nil, errors.New("client: a user id and a connection are required")
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.Poll == 0 {
		cfg.Poll = 30 * time.Second
	}
	return &Client{cfg: cfg}, nil
}

// User is the id of the user that the client speaks for.
func (c *Client) User() job.UserID { return c.cfg.User }

// Close ends the connection.
func (c *Client) Close() error { return c.cfg.Conn.Close() }

// Jobs gives the jobs in the queue that are selected, in the order of ids, and the sequence number of
// the event after which they were so.
func (c *Client) Jobs(ctx context.Context, sel wire.Selection) ([]wire.JobRow, uint64, error) {
	return rows[wire.JobRow](ctx, c, wire.Query{Kind: wire.QueryJobs, Select: sel}, 0)
}

// History gives the jobs that have ended and are selected, the last one first, at most limit of them;
// all for 0.
func (c *Client) History(ctx context.Context, sel wire.Selection, limit int) ([]wire.JobRow, error) {
	all, _, err := rows[wire.JobRow](ctx, c, wire.Query{Kind: wire.QueryHistory, Select: sel}, limit)
	return all, err
}

// Undelivered gives the user's jobs that have completed and whose outputs are not where the jobs were submitted, the last one first.
func (c *Client) Undelivered(ctx context.Context) ([]wire.JobRow, error) {
	all, _, err := rows[wire.JobRow](ctx, c, wire.Query{Kind: wire.QueryHistory, Undelivered: true}, 0)
	return slices.DeleteFunc(all, func(r wire.JobRow) bool { // an older matchmaker gives all that have ended
		status, _ := r.Ad.Int("JobStatus")
		return r.Delivered || job.State(status) != job.Completed
	}), err
}

// Act does something to jobs and gives those to which it was done, why not to the others that were
// named, and what is to be known about it. set says what [wire.Edit] and [wire.Prio] are to set.
func (c *Client) Act(ctx context.Context, do wire.ActionVerb, sel wire.Selection, reason string, set ...job.Assigned) (wire.ActionResult, error) {
	all := wire.ActionResult{V: wire.Version, Not: map[string]string{}}
	action := wire.Action{V: wire.Version, Do: do, Select: sel, Reason: reason, Set: set}
	for {
		action.Request = rand.Text()
		res, err := call(ctx, c, wire.VerbAct, action, false, func(r wire.ActionResult) *wire.Failure { return r.Fail })
		if err != nil {
			return all, err
		}
		all.Done = append(all.Done, res.Done...)
		maps.Copy(all.Not, res.Not)
		if res.Note != "" {
			all.Note = res.Note
		}
		stuck := len(res.Done) == 0 && res.Next == action.After // also of a matchmaker that knows no cursor
		if !res.More || stuck {
			return all, nil
		}
		action.After = res.Next
	}
}

// rows asks for page after page.
func rows[R any](ctx context.Context, c *Client, q wire.Query, limit int) (all []R, seq uint64, err error) {
	q.V, q.Limit = wire.Version, limit
	for first := true; ; first = false {
		res, err := c.query(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		if first {
			seq = res.Seq // later pages may be newer: who follows from here misses nothing
		}
		for _, raw := range res.Rows {
			var row R
			if err := json.Unmarshal(raw, &row); err != nil {
				return nil, 0, fmt.Errorf("read the matchmaker's answer about %s: %w", q.Kind, err)
			}
			all = append(all, row)
		}
		if !res.More || limit > 0 && len(all) >= limit {
			return all, seq, nil
		}
		if res.Next == q.After {
			return nil, 0, fmt.Errorf("the matchmaker's answer about %s does not end", q.Kind)
		}
		q.After = res.Next
	}
}

func (c *Client) query(ctx context.Context, q wire.Query) (wire.QueryResult, error) {
	q.V = wire.Version
	return call(ctx, c, wire.VerbQuery, q, true, func(r wire.QueryResult) *wire.Failure { return r.Fail })
}

// attempts is how often a request is made that may be repeated, when nothing comes back or there is no connection. A
// request that reaches the pool, but nobody who can do what it says, is made again for as long as all of these may take:
// another matchmaker takes over within seconds.
const attempts = 3

const againEvery = 500 * time.Millisecond

// fate is what became of a request that was made.
type fate int

const (
	final       fate = iota // it is answered, or cannot be
	notDone                 // nobody has done anything: it may always be made again
	perhapsDone             // it may be made again if it has one effect however often it is made
)

// call makes a request and gives the answer, or the error that the answer is. A request that nobody has done anything
// about is made again; with again, so is one that may have been done.
func call[A any](ctx context.Context, c *Client, verb string, message any, again bool, fail func(A) *wire.Failure) (A, error) {
	var none A
	data, err := wire.Encode(message)
	if err != nil {
		return none, err
	}
	last := time.Now().Add(attempts * c.cfg.Patience)
	doubt := false // one of them may have been done
	for n := 1; ; n++ {
		answer, fate, err := try(ctx, c, verb, data, fail)
		if fate == final {
			return answer, err
		}
		doubt = doubt || fate == perhapsDone
		away := errors.Is(err, bus.ErrDisconnected)
		if fate == perhapsDone && !again || !time.Now().Before(last) || away && !doubt && n >= attempts {
			if doubt {
				err = c.gaveUp(verb, err)
			}
			return none, err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			continue // it has been waited for
		}
		if err := pause.For(ctx, againEvery); err != nil {
			return none, err
		}
	}
}

// try makes a request once.
func try[A any](ctx context.Context, c *Client, verb string, message []byte, fail func(A) *wire.Failure) (A, fate, error) {
	var none A
	data, err := c.request(ctx, verb, message)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return none, final, err
	case errors.Is(err, bus.ErrForbidden):
		return none, final, c.forbidden(err)
	case errors.Is(err, bus.ErrDisconnected), errors.Is(err, bus.ErrNoResponder):
		return none, notDone, c.unreachable(err)
	case errors.Is(err, context.DeadlineExceeded):
		return none, perhapsDone, c.unreachable(err)
	default:
		return none, final, c.gaveUp(verb, c.unreachable(err))
	}
	answer, err := wire.Decode[A](data)
	if err != nil {
		return none, final, err
	}
	switch f := fail(answer); {
	case f == nil || !f.Again:
		return answer, final, f.Err()
	case f.Undone:
		return none, notDone, f.Err()
	default:
		return none, perhapsDone, f.Err()
	}
}

// gaveUp is the error of a request whose outcome is not known.
func (c *Client) gaveUp(verb string, err error) error {
	what, hint := "", ""
	switch verb {
	case wire.VerbSubmit:
		what, hint = "it is not known whether the jobs are in the queue", `look with "skua q" before you submit them again`
	case wire.VerbAct:
		what, hint = "it is not known whether that was done", `look with "skua q"`
	default:
		return err
	}
	return &diag.Problem{What: fmt.Sprintf("%s: %v", what, err), Hint: hint, Err: err, Code: diag.ExitUnreachable}
}

func (c *Client) request(ctx context.Context, verb string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Patience)
	defer cancel()
	return c.cfg.Conn.Request(ctx, wire.UserSubject(c.cfg.User, verb), data)
}

// forbidden is the error of a user whom the pool knows, and lets do nothing.
func (c *Client) forbidden(err error) error {
	at := ""
	if c.cfg.Pool != "" {
		at = " at " + c.cfg.Pool
	}
	return &diag.Problem{
		What: fmt.Sprintf("the pool%s lets you do nothing: you wait for its administrator's approval, or it does not know you any more", at),
		Hint: fmt.Sprintf(`the administrator runs "skua-matchmaker approve %s" or, when that knows no such member, gives you a token for "skua login"`, c.cfg.User),
		Err:  err,
	}
}

func (c *Client) unreachable(err error) error {
	at := ""
	if c.cfg.Pool != "" {
		at = " at " + c.cfg.Pool
	}
	return &diag.Problem{
		What: fmt.Sprintf("the matchmaker%s does not answer", at),
		Hint: "nothing is lost; try again in a moment, and tell the pool's administrator if it stays so",
		Err:  err, Code: diag.ExitUnreachable,
	}
}
