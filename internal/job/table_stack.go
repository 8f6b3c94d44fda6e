package job

import (
	"errors"
	"fmt"
	"sort"
	"sync/atomic"

	"skua/internal/blob"
	"skua/policy/classad"
)

// stack is a list of records of a table, compressed in blocks of which the last used ones are kept as texts.
type stack struct {
	spans []span
	total int // records
	text  int // bytes
	data  []byte
	from  blob.Decompressor
	skip  func(text []byte, exprs *map[string]*classad.Expr) (rest []byte, err error) // checks one record
	cache [4]atomic.Pointer[block]
}

// span is where a block is.
type span struct {
	first  uint32 // number of its first record
	at     uint32 // in the data
	text   uint32 // bytes
	stored uint32 // bytes as compressed
}

// block is some records of a stack in a row.
type block struct {
	first  int
	text   []byte
	starts []uint32 // where each record begins, and where the last one ends
	exprs  map[string]*classad.Expr
}

// index reads where the blocks are.
func (s *stack) index(d *decoder) {
	n := d.number(len(d.rest) / 3) // each has three numbers of at least a byte
	s.spans = make([]span, 0, n)
	at := uint32(0)
	for range n {
		records, text, stored := d.number(blockRecords), d.number(maxBlockText), d.number(2*maxBlockText)
		if d.err == nil && (records == 0 || text < records) {
			d.fail() // a record has at least a byte
		}
		if d.err != nil {
			return
		}
		s.spans = append(s.spans, span{uint32(s.total), at, uint32(text), uint32(stored)})
		if at+uint32(stored) < at {
			d.fail()
			return
		}
		at += uint32(stored)
		s.total += records
		if s.text += text; s.text > maxTableText {
			d.err = fmt.Errorf("it comes to more than %d MB", maxTableText>>20)
			return
		}
	}
}

// take takes the data of the blocks. It is false if there is less.
func (s *stack) take(data []byte) (rest []byte, ok bool) {
	n := 0
	if last := len(s.spans) - 1; last >= 0 {
		n = int(s.spans[last].at) + int(s.spans[last].stored)
	}
	if n > len(data) {
		return nil, false
	}
	s.data = data[:n:n]
	return data[n:], true
}

func (s *stack) len() int { return s.total }

// check reads all blocks.
func (s *stack) check() error {
	exprs := 0
	for i := range s.spans {
		b, err := s.load(i)
		if err != nil {
			return fmt.Errorf("%d and following: %w", s.spans[i].first, err)
		}
		for text := range b.exprs {
			exprs += len(text)
		}
		if exprs > maxTableExprs {
			return fmt.Errorf("their expressions come to more than %d MB", maxTableExprs>>20)
		}
	}
	return nil
}

// block gives the block with a record, which must be one of the stack's.
func (s *stack) block(record int) *block {
	if record < 0 || record >= s.total {
		panic(fmt.Sprintf("job: record %d of a table that has %d", record, s.total))
	}
	i := sort.Search(len(s.spans), func(i int) bool { return int(s.spans[i].first) > record }) - 1
	place := &s.cache[i%len(s.cache)]
	if b := place.Load(); b != nil && b.first == int(s.spans[i].first) {
		return b
	}
	b, err := s.load(i)
	if err != nil {
		panic(fmt.Sprintf("job: a table that was good is not any more: %v", err)) // memory, not input
	}
	place.Store(b)
	return b
}

// load makes the text of a block and finds its records.
func (s *stack) load(i int) (*block, error) {
	at := s.spans[i]
	text, err := s.from.Text(s.data[at.at:at.at+at.stored], int(at.text))
	if err != nil {
		return nil, err
	}
	next := s.total
	if i+1 < len(s.spans) {
		next = int(s.spans[i+1].first)
	}
	b := &block{first: int(at.first), text: text, starts: make([]uint32, 1, next-int(at.first)+1)}
	rest := text
	for range next - b.first {
		if rest, err = s.skip(rest, &b.exprs); err != nil {
			return nil, err
		}
		b.starts = append(b.starts, uint32(len(text)-len(rest)))
	}
	if len(rest) > 0 {
		return nil, errors.New("a block has more records than its index says")
	}
	return b, nil
}

// record gives the text of a record.
func (b *block) record(n int) []byte {
	n -= b.first
	return b.text[b.starts[n]:b.starts[n+1]]
}
