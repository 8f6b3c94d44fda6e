// Package wire holds the messages that Skua's programs send each other, and the names of the subjects
// that carry them.
//
// Messages are plain structs in JSON. Every message carries the version its sender speaks; decoders
// ignore fields they do not know, and a message of an older version gets the behaviour it was written
// for. A message that is too large or malformed is an error that names its type. The package does
// no I/O.
package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"skua/internal/diag"
)

// Version is what this build speaks. Raise it when the meaning of a message changes.
//
//   - 1: first release
const Version = 1

// MaxMessage is the largest message in bytes that the bus carries.
const MaxMessage = 256 << 10

// Encode writes a message. It fails for one that is larger than [MaxMessage].
func Encode(m any) ([]byte, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("encode %T: %d bytes are more than a message may have (%d)", m, len(data), MaxMessage)
	}
	return data, nil
}

// Decode reads a message of this or an older version.
func Decode[M any](data []byte) (M, error) {
	var m M
	if len(data) > MaxMessage {
		return m, fmt.Errorf("decode %T: %d bytes are more than a message may have (%d)", m, len(data), MaxMessage)
	}
	v, err := versionOf(data)
	if err != nil {
		return m, fmt.Errorf("decode %T: %w", m, err)
	}
	if v < 1 || v > Version {
		return m, fmt.Errorf("decode %T: the sender speaks version %d, this program 1 to %d", m, v, Version)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("decode %T: %w", m, err)
	}
	return m, nil
}

// versionOf gives the version of a message. All that Encode writes begin with it, so that they need not be read to the
// end for it.
func versionOf(data []byte) (int, error) {
	if rest, ok := bytes.CutPrefix(data, []byte(`{"v":`)); ok {
		if n := bytes.IndexAny(rest, ",}"); n > 0 {
			if v, err := strconv.ParseUint(string(rest[:min(n, 20)]), 10, 16); err == nil {
				return int(v), nil
			}
		}
	}
	var head struct {
		V int `json:"v"`
	}
	err := json.Unmarshal(data, &head)
	return head.V, err
}

// Failure is an error as it travels in a reply: what a person is to read, no more.
type Failure struct {
	What string `json:"what"`
	Hint string `json:"hint,omitempty"`

	// Again says that this is no refusal: the matchmaker could not answer now, and what was asked may have been done. It
	// is to be asked again, under the same name.
	Again bool `json:"again,omitempty"`

	// Undone says, beside Again, that nothing of what was asked has been done: it may also be asked again when to do it
	// twice would be another thing.
	Undone bool `json:"undone,omitempty"`
}

// Fail turns an error into a [Failure].
func Fail(err error) *Failure {
	if err == nil {
		return nil
	}
	p, ok := err.(*diag.Problem)
	if !ok {
		return &Failure{What: err.Error()}
	}
	return &Failure{What: p.What, Hint: p.Hint}
}

// Err turns a [Failure] back into an error; nil gives nil.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	p := &diag.Problem{What: f.What, Hint: f.Hint}
	if f.Again {
		p.Code = diag.ExitUnreachable
	}
	return p
}
