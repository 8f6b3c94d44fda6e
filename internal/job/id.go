// Package job says what a job is: its id, its states, the events that change it, and the protocol
// by which a matchmaker and an agent agree that exactly one copy of it runs.
//
// Everything here is a pure function of its arguments: no clock is read, no file opened, nothing
// logged. The queue stores events and applies them; servers and agents feed the two halves of the
// claim protocol and carry out the effects they return.
package job

import (
	"fmt"
	"strconv"
	"strings"
)

// ID names a job: the cluster is one submit, the proc one job of it. It prints as "12.3".
type ID struct {
	Cluster int
	Proc    int
}

func (id ID) String() string { return strconv.Itoa(id.Cluster) + "." + strconv.Itoa(id.Proc) }

// ParseID reads "12.3". Clusters count from 1, procs from 0.
func ParseID(s string) (ID, error) {
	c, p, ok := strings.Cut(s, ".")
	cluster, err1 := strconv.Atoi(c)
	proc, err2 := strconv.Atoi(p)
	if !ok || err1 != nil || err2 != nil || cluster < 1 || proc < 0 {
		return ID{}, fmt.Errorf("%q is not a job id such as 12.0", s)
	}
	return ID{cluster, proc}, nil
}

// Compare orders ids by cluster, then proc.
func (id ID) Compare(other ID) int {
	if id.Cluster != other.Cluster {
		return id.Cluster - other.Cluster
	}
	return id.Proc - other.Proc
}

// MarshalText makes an ID a string in JSON, also as a map key. The zero ID, which names no job, is an
// empty string.
func (id ID) MarshalText() ([]byte, error) {
	if id == (ID{}) {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	got, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = got
	return nil
}

// AgentID names an agent. The matchmaker issues it at enrolment: lower-case base32, no dots, so that
// it can stand in a subject.
type AgentID string

// UserID names a user in the same form. It is never a Unix uid.
type UserID string

// ClaimID names one acceptance of one slot.
type ClaimID string

// Epoch counts the claims of one job. A higher epoch supersedes every lower one: results, renewals
// and checkpoints that carry a lower epoch are discarded.
type Epoch uint64
