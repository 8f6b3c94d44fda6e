package bus

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// requests are those that wait for an answer. To one that a member may not make none comes: the server tells the
// connection of it, with the subject, and whoever asked would wait in vain.
type requests struct {
	mu  sync.Mutex
	all map[*question]struct{} // guarded by mu
}

type question struct {
	subject string
	refuse  context.CancelCauseFunc
}

// begin gives a context for a request that ends with [ErrForbidden] when the server does not let it through. done is to
// be called when the request has ended.
func (r *requests) begin(ctx context.Context, subject string) (asking context.Context, done func()) {
	asking, refuse := context.WithCancelCause(ctx)
	q := &question{subject, refuse}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[*question]struct{}{}
	}
	r.all[q] = struct{}{}
	return asking, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.all, q)
		refuse(nil)
	}
}

// refused ends the requests that an error of the connection is about.
func (r *requests) refused(err error, inbox string) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	subject, ok := refusedSubject(err.Error())
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.all {
		if q.subject == subject || inbox != "" && strings.HasPrefix(subject, inbox+".") { // no answer can come at all
			q.refuse(ErrForbidden)
		}
	}
}

// refusedSubject finds the subject in what a server says of a permission that a connection lacks.
func refusedSubject(said string) (subject string, ok bool) {
	m := violation.FindStringSubmatch(said)
	if m == nil {
		return "", false
	}
	return m[1], true
}

var violation = regexp.MustCompile(`(?i)violation for (?:publish|subscription) to "([^"]+)"`)
