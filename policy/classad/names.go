package classad

import (
	"hash/maphash"
	"sync/atomic"
	"unique"
)

// An atom is a name without its case: two atoms are equal exactly if the names are. Comparing them
// compares two pointers.
type atom = unique.Handle[folded]

type folded struct {
	lower string
	hash  uint64 // of lower, for tables
}

// A spelled name is an atom and how somebody wrote it.
type spelled struct {
	name    string
	key     atom
	special special
}

var nameSeed = maphash.MakeSeed()

// recentNames has spelled names by the hash of their spelling, each at its place or the one beside it. A
// pool's ads have the same few hundred names over and over; to find one here costs no allocation and
// no lock. It is a cache: a name that takes another's place is all that happens when there are many.
var recentNames [1 << 13]atomic.Pointer[spelled]

func spelledName(name string) *spelled {
	i := maphash.String(nameSeed, name) % uint64(len(recentNames))
	if s := recentNames[i].Load(); s != nil && s.name == name {
		return s
	}
	if s := recentNames[i^1].Load(); s != nil && s.name == name {
		return s
	}
	s := newSpelled(name)
	if len(name) <= maxRemembered {
		if recentNames[i].Load() != nil {
			i ^= 1
		}
		recentNames[i].Store(s)
	}
	return s
}

func newSpelled(name string) *spelled {
	low := lower(name)
	key := unique.Make(folded{low, maphash.String(nameSeed, low)})
	s := &spelled{name: key.Value().lower, key: key, special: specialOf(low)}
	if s.name != name {
		s.name = string([]byte(name)) // not a part of a text that would be kept with it
	}
	return s
}

func atomOf(name string) atom { return spelledName(name).key }
