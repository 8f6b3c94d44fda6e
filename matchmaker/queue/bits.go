package queue

import (
	"math/bits"
	"slices"
)

// bitset is a set of small numbers, a bit for each.
type bitset []uint64

func (b bitset) has(n int) bool { return n>>6 < len(b) && b[n>>6]&(1<<(n&63)) != 0 }

// add puts in the numbers from from until before upto, and grows as needed.
func (b *bitset) add(from, upto int) {
	for len(*b) < (upto+63)>>6 {
		*b = append(*b, 0)
	}
	for n := from; n < upto; {
		if n&63 == 0 && n+64 <= upto {
			(*b)[n>>6] = ^uint64(0)
			n += 64
			continue
		}
		(*b)[n>>6] |= 1 << (n & 63)
		n++
	}
}

func (b bitset) remove(n int) {
	if n>>6 < len(b) {
		b[n>>6] &^= 1 << (n & 63)
	}
}

// next gives the first number in the set from n on; -1 if there is none.
func (b bitset) next(n int) int {
	for i := n >> 6; i < len(b); i++ {
		w := b[i]
		if i == n>>6 {
			w &= ^uint64(0) << (n & 63)
		}
		if w != 0 {
			return i<<6 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// nextNot gives the first number from n on that is not in the set.
func (b bitset) nextNot(n int) int {
	for i := n >> 6; i < len(b); i++ {
		w := ^b[i]
		if i == n>>6 {
			w &= ^uint64(0) << (n & 63)
		}
		if w != 0 {
			return i<<6 + bits.TrailingZeros64(w)
		}
	}
	return len(b) << 6
}

// last gives the highest number in the set; -1 if it is empty.
func (b bitset) last() int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return i<<6 + 63 - bits.LeadingZeros64(b[i])
		}
	}
	return -1
}

// in gives the numbers that are in both, as a new set; those of b if c is nil.
func (b bitset) in(c bitset) bitset {
	if c == nil {
		return b
	}
	both := make(bitset, min(len(b), len(c)))
	for i := range both {
		both[i] = b[i] & c[i]
	}
	return both
}

// without gives the numbers that are not in c, as a new set.
func (b bitset) without(c bitset) bitset {
	rest := slices.Clone(b)
	for i := range min(len(b), len(c)) {
		rest[i] &^= c[i]
	}
	return rest
}
