package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/submitfile"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
)

// Submit uploads what the jobs need, each content once, and queues them. When it returns without an
// error the matchmaker has them on disk, and this machine is no longer needed. A submit whose answer is lost, or that
// meets a change of the matchmaker that leads, is repeated, and the jobs are queued once; when no answer comes in the
// end, the error says that it is not known whether they are. progress is told of
// uploads; nil tells nobody. The submission's ads are the client's from here on.
func (c *Client) Submit(ctx context.Context, s *submitfile.Submission, progress transfer.Progress) (wire.Submitted, error) {
	in, err := gather(ctx, s, c.Runtimes)
	if err != nil {
		return wire.Submitted{}, unasked{err}
	}
	if len(s.Procs) == 0 {
		return wire.Submitted{}, &diag.Problem{What: "there is no job to submit"}
	}
	request := wire.Submit{V: wire.Version, Request: rand.Text(), Ad: s.Cluster}
	request.Ad.Delete("ClusterId") // the matchmaker gives the number
	procs := make([]*classad.Ad, len(s.Procs))
	for i, p := range s.Procs {
		procs[i] = p.Ad
	}
	upload, fits := in.fill(&request, procs)
	if !fits {
		if upload, err = in.fillTable(&request, procs); err != nil {
			return wire.Submitted{}, err
		}
	}
	if err := c.upload(ctx, upload, progress); err != nil {
		return wire.Submitted{}, unasked{err}
	}
	return call(ctx, c, wire.VerbSubmit, request, true, func(r wire.Submitted) *wire.Failure { return r.Fail })
}

// unasked is an error that came before the matchmaker was asked to queue anything.
type unasked struct{ error }

func (e unasked) Unwrap() error { return e.error }

// NothingQueued says of an error of [Client.Submit] that it is certain that no job was queued.
func NothingQueued(err error) bool { return errors.As(err, new(unasked)) }

// maxProcs is how many jobs travel in the message itself; of more a table is made.
const maxProcs = 1000

// fill puts the jobs into the request, and says what is to be uploaded before. It is false when they do not fit.
func (in *inputs) fill(request *wire.Submit, procs []*classad.Ad) (upload []*content, fits bool) {
	if len(procs) > maxProcs {
		return nil, false
	}
	request.Procs, request.Inputs = procs, in.lists(true)
	if size(request) > maxSubmit || largestJob(*request) > job.MaxEncoded {
		request.Inputs = in.lists(false) // what is small, many times, is large: it goes to the file service
	}
	if size(request) > maxSubmit || largestJob(*request) > job.MaxEncoded {
		request.Procs, request.Inputs = nil, nil
		return nil, false
	}
	return in.missing(request.Inputs), true
}

// fillTable is fill for jobs that do not fit: they become a table, which is uploaded like a file unless it is small.
func (in *inputs) fillTable(request *wire.Submit, procs []*classad.Ad) (upload []*content, err error) {
	lists := in.lists(in.small() <= job.MaxInline)
	data, err := job.EncodeTable(request.Ad, procs, lists)
	if err != nil {
		return nil, &diag.Problem{
			What: fmt.Sprintf("the descriptions of these %d jobs are too much for one submit: %v", len(procs), err),
			Hint: "submit them in several parts, make the jobs differ in less, or pack their files into archives", Err: err,
		}
	}
	request.Table = &job.TableRef{Size: int64(len(data)), Count: len(procs)}
	upload = in.missing(lists)
	if len(data) <= job.MaxInlineTable {
		request.Table.Inline = data
	} else {
		c := &content{path: "the table of the jobs", digest: blob.Sum(data), size: int64(len(data)), data: data}
		request.Table.Digest = c.digest
		upload = append(upload, c)
	}
	if n := size(request); n > maxSubmit {
		return nil, &diag.Problem{
			What: fmt.Sprintf("what the jobs have in common comes to %d kB, and one submit carries %d kB", n>>10, maxSubmit>>10),
			Hint: "shorten environment and arguments, or put them into a file",
		}
	}
	return upload, nil
}

// maxSubmit leaves room in a message for what the queue log adds to it.
const maxSubmit = wire.MaxMessage - 24<<10

// largestJob is the size of the largest job alone, as encoded, or a little more.
func largestJob(request wire.Submit) int {
	const around = 64 // what holds the parts together
	common, lists := size(request.Ad), make([]int, len(request.Inputs))
	for i, l := range request.Inputs {
		lists[i] = size(l)
	}
	largest := 0
	for i, proc := range request.Procs {
		n := common + size(proc) + around
		if len(lists) > 0 {
			n += lists[min(i, len(lists)-1)]
		}
		largest = max(largest, n)
	}
	return largest
}

func size(part any) int {
	data, err := json.Marshal(part)
	if err != nil {
		return 0 // whoever sends it meets the error again
	}
	return len(data)
}

// sameLists makes one list of many that are equal.
func sameLists(lists [][]job.File) [][]job.File {
	for _, l := range lists[1:] {
		if !sameList(l, lists[0]) && !reflect.DeepEqual(l, lists[0]) {
			return lists
		}
	}
	return lists[:1]
}

// sameList says whether two lists are one in memory.
func sameList[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Expand makes the ads of a description whose cluster has no number yet. Where the description uses
// $(Cluster) the ads get expressions over ClusterId, which has its value when the job is in the queue.
func Expand(d *submitfile.Description) (*submitfile.Submission, error) {
	return d.Expand(submitfile.Unnumbered)
}
