package history

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"strconv"
	"strings"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// Entry is a job that has ended and is done with. As a line it is
//
//	checksum sequence job user ended delivered ad
//
// with blanks between them: the CRC-32C of what follows the first blank in hexadecimal digits, the number of the
// event by which the job was done with, its id, whose it was, when it ended in nanoseconds since 1970, 1 if its
// outputs were fetched, and its ad as JSON, which is what people see of it.
type Entry struct {
	Seq       uint64
	ID        job.ID
	User      job.UserID
	Ended     time.Time
	Delivered bool

	ad   *classad.Ad
	text []byte // of an entry that was read, of which the ad has not been
}

// NewEntry makes the entry of a job that an event has ended or delivered for good.
func NewEntry(seq uint64, j *job.Job) *Entry {
	return &Entry{Seq: seq, ID: j.ID, User: j.User, Ended: j.Ended, Delivered: j.Delivered, ad: j.CurrentAd().Flat()}
}

// Ad gives the job's ad.
func (e *Entry) Ad() (*classad.Ad, error) {
	if e.ad == nil {
		ad := classad.NewAd()
		if err := json.Unmarshal(e.text, ad); err != nil {
			return nil, fmt.Errorf("history of job %v: %w", e.ID, err)
		}
		e.ad = ad
	}
	return e.ad, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumDigits = 8

// append adds the entry's line.
func (e *Entry) append(line []byte) ([]byte, error) {
	ad, err := e.Ad()
	if err != nil {
		return line, err
	}
	text, err := json.Marshal(ad)
	if err != nil {
		return line, fmt.Errorf("job %v: %w", e.ID, err)
	}
	delivered := 0
	if e.Delivered {
		delivered = 1
	}
	return seal(line, fmt.Appendf(nil, "%d %v %s %d %d %s", e.Seq, e.ID, url.QueryEscape(string(e.User)), e.Ended.UnixNano(), delivered, text)), nil
}

// seal adds content as a line with its checksum.
func seal(line, content []byte) []byte {
	line = fmt.Appendf(line, "%08x ", crc32.Checksum(content, castagnoli))
	return append(append(line, content...), '\n')
}

// unseal gives the content of a line without its end.
func unseal(line []byte) ([]byte, error) {
	var sum [sumDigits / 2]byte
	if len(line) <= sumDigits || line[sumDigits] != ' ' {
		return nil, errors.New("it is not a line of a history")
	}
	if _, err := hex.Decode(sum[:], line[:sumDigits]); err != nil {
		return nil, errors.New("it does not begin with a checksum")
	}
	content := line[sumDigits+1:]
	if want := crc32.Checksum(content, castagnoli); fmt.Sprintf("%x", sum) != fmt.Sprintf("%08x", want) {
		return nil, fmt.Errorf("its checksum is %x, not %08x", sum, want)
	}
	return content, nil
}

// parse reads a line without its end. The entry keeps a part of it.
func parse(line []byte) (*Entry, error) {
	content, err := unseal(line)
	if err != nil {
		return nil, err
	}
	fields := bytes.SplitN(content, []byte(" "), 6)
	if len(fields) != 6 {
		return nil, errors.New("it has too few fields")
	}
	seq, err1 := strconv.ParseUint(string(fields[0]), 10, 64)
	id, err2 := job.ParseID(string(fields[1]))
	user, err3 := url.QueryUnescape(string(fields[2]))
	ended, err4 := strconv.ParseInt(string(fields[3]), 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	if seq == 0 {
		return nil, errors.New("it has no sequence")
	}
	return &Entry{
		Seq: seq, ID: id, User: job.UserID(user), Ended: time.Unix(0, ended).UTC(), Delivered: string(fields[4]) == "1", text: fields[5],
	}, nil
}

const closingWord = "closed"

// closing is the last line of a file to which nothing is added any more: the range of its clusters.
func closing(s span) []byte {
	return seal(nil, fmt.Appendf(nil, "%s %d %d", closingWord, s.lowest, s.highest))
}

func parseClosing(line []byte) (s span, ok bool) {
	content, err := unseal(line)
	if err != nil || !bytes.HasPrefix(content, []byte(closingWord)) {
		return s, false
	}
	n, err := fmt.Fscanf(strings.NewReader(string(content)), closingWord+" %d %d", &s.lowest, &s.highest)
	return s, n == 2 && err == nil
}
