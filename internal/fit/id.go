package fit

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ID tells a file from others of the same name. It is short, and the same on every machine that has the file:
//
//	58254ca972028402/1922136          an executable or library: the beginning of its build ID, and its size
//	sha256:e3b0c44298fc1c14/3048928   another file: the beginning of its digest, and its size
//	?/3048928                         another file that has not been read
//	absent                            there is none
//
// CRIU compares the build IDs and the sizes, see its criu/files-reg.c: "has bad build-ID", "has bad size". The
// digest is ours.
type ID string

// Absent is the ID of a file that is not there.
const Absent ID = "absent"

const (
	digits    = 16 // of a build ID or a digest, in hexadecimal
	digestTag = "sha256:"
)

// Built is the ID of a file with a build ID. One without gives what [Unread] does.
func Built(buildID []byte, size int64) ID {
	text := hex.EncodeToString(buildID)
	if text == "" {
		return Unread(size)
	}
	return ID(fmt.Sprintf("%s/%d", text[:min(len(text), digits)], size))
}

// Digested is the ID of a file without a build ID, of which the SHA-256 is known.
func Digested(sum [32]byte, size int64) ID {
	return ID(fmt.Sprintf("%s%s/%d", digestTag, hex.EncodeToString(sum[:])[:digits], size))
}

// Unread is the ID of a file without a build ID that nobody has read.
func Unread(size int64) ID { return ID(fmt.Sprintf("?/%d", size)) }

// Unread reports whether only the size of the file is known.
func (id ID) Unread() bool { return id.kind() == unread }

// Fits reports whether the file have is the one that is wanted, as far as is known of both.
func (want ID) Fits(have ID) bool {
	if want == have {
		return want != Absent
	}
	_, a, _ := strings.Cut(string(want), "/")
	_, b, _ := strings.Cut(string(have), "/")
	plain := func(k kind) bool { return k == unread || k == digested }
	return a == b && plain(want.kind()) && plain(have.kind()) && (want.Unread() || have.Unread())
}

// Words describe the file within a sentence.
func (id ID) Words() string {
	what, size, _ := strings.Cut(string(id), "/")
	switch id.kind() {
	case built:
		return "build ID " + what
	case digested:
		return "SHA-256 " + strings.TrimPrefix(what, digestTag)
	case unread:
		return size + " bytes"
	}
	return string(id)
}

type kind int

// The kinds of ID, the best first.
const (
	built kind = iota
	digested
	unread
	none // it is no ID of a file that is there
)

func (id ID) kind() kind {
	what, size, ok := strings.Cut(string(id), "/")
	if n, err := strconv.ParseInt(size, 10, 64); !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != size {
		return none
	}
	sum, tagged := strings.CutPrefix(what, digestTag)
	switch {
	case what == "?":
		return unread
	case sum == "" || len(sum) > digits || strings.Trim(sum, "0123456789abcdef") != "":
		return none
	case tagged:
		return digested
	}
	return built
}

func (id ID) valid() bool { return id.kind() != none }
