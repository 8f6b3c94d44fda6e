package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// chain is the running hash of the log: that of a record covers the record and, through the chain before it, all
// records before. So a record that is changed, lost, moved or of another log is found where it stands, even
// when it would fit.
//
// A record carries its chain as its last member, `,"sum":"<32 hex digits>"}`. Records that the first releases
// wrote carry none; from the first one on that does, all must.
type chain struct {
	sum    [sumSize]byte
	sealed bool // a record has carried one
}

const sumSize = 16 // bytes of a SHA-256, far more than damage needs

var (
	sumHead = []byte(`,"sum":"`)
	sumTail = []byte(`"}`)
	sumRoom = len(sumHead) + 2*sumSize + len(sumTail) - 1 // bytes that sealing adds
)

// follow gives the chain after a record without its sum.
func (c chain) follow(record []byte) chain {
	h := sha256.New()
	h.Write(c.sum[:])
	h.Write(record)
	next := chain{sealed: c.sealed}
	copy(next.sum[:], h.Sum(nil))
	return next
}

// seal puts the sum into a record, which is a JSON object, and gives the chain after it.
func (c chain) seal(record []byte) ([]byte, chain) {
	next := c.follow(record)
	next.sealed = true
	sealed := make([]byte, 0, len(record)+sumRoom)
	sealed = append(sealed, record[:len(record)-1]...)
	sealed = append(sealed, sumHead...)
	sealed = hex.AppendEncode(sealed, next.sum[:])
	return append(sealed, sumTail...), next
}

// check gives the chain after a record as it is in the log, if that is the record that belongs here.
func (c chain) check(record []byte) (chain, error) {
	plain, sum, ok := unseal(record)
	if !ok {
		if c.sealed {
			return c, fmt.Errorf("it has no checksum, and the records before it have one")
		}
		return c.follow(record), nil
	}
	next := c.follow(plain)
	next.sealed = true
	if next.sum != sum {
		return c, fmt.Errorf("its checksum is %x, and after the records before it %x is due: it has been changed, or records before it have", sum, next.sum)
	}
	return next, nil
}

// chainAfter gives the chain after a record that has been checked, or is believed, by what it carries itself.
func chainAfter(record []byte) chain {
	_, sum, ok := unseal(record)
	return chain{sum, ok}
}

// unseal parts a record from its sum. It is false for one without.
func unseal(record []byte) (plain []byte, sum [sumSize]byte, ok bool) {
	at := len(record) - sumRoom - 1
	if at < 1 {
		return nil, sum, false
	}
	digits, hasHead := bytes.CutPrefix(record[at:], sumHead)
	digits, hasTail := bytes.CutSuffix(digits, sumTail)
	if !hasHead || !hasTail {
		return nil, sum, false
	}
	if _, err := hex.Decode(sum[:], digits); err != nil {
		return nil, sum, false
	}
	return append(bytes.Clone(record[:at]), '}'), sum, true
}
