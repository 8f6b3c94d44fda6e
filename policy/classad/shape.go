package classad

import (
	"slices"
	"sync/atomic"
)

// A shape is what the ads of one kind have in common: their attribute names in order, and a table that
// finds one. Ads that are parsed share the shape with others like them, which saves most of their
// memory and keeps the table in the processor's caches while thousands of ads are matched.
//
// A shared shape never changes. One that is not shared belongs to one ad.
type shape struct {
	names  []*spelled
	slots  []int   // where the value of each is; nil: in the same order
	table  []place // open addressing; its length is a power of two, and at most half of it is used
	hash   uint64  // of the sequence of names
	shared bool
	odd    bool // one of the names means something in the language, such as MY
}

type place struct {
	key  atom
	slot int
}

// oftenAsked are the attributes that jobs usually ask a machine for. Their values stand together at
// the beginning of an ad, where the processor fetches them at one go.
var oftenAsked = map[atom]bool{
	atomOf("Arch"): true, atomOf("OpSys"): true, atomOf("Memory"): true, atomOf("Cpus"): true, atomOf("Disk"): true,
	atomOf("HasFileTransfer"): true, atomOf("Gpus"): true, atomOf("OpSysMajorVer"): true, atomOf("FileSystemDomain"): true,
}

// slot tells where the value of the attribute with this key is, -1 if there is none of that name.
func (s *shape) slot(key atom) int {
	if s == nil || len(s.table) == 0 {
		return -1
	}
	mask := uint64(len(s.table) - 1)
	for i := key.Value().hash & mask; ; i = (i + 1) & mask {
		switch s.table[i].key {
		case key:
			return s.table[i].slot
		case atom{}:
			return -1
		}
	}
}

// add gives an unshared shape one more name, which it does not have yet.
func (s *shape) add(name *spelled) {
	s.names = append(s.names, name)
	s.hash = hashNames(s.hash, name)
	s.odd = s.odd || name.special != ordinary
	if 2*len(s.names) > len(s.table) {
		s.index()
		return
	}
	s.enter(name.key, len(s.names)-1)
}

// slotAt tells where the value of the name at i is.
func (s *shape) slotAt(i int) int {
	if s.slots == nil {
		return i
	}
	return s.slots[i]
}

func (s *shape) index() {
	size := 4
	for size < 2*len(s.names) {
		size *= 2
	}
	s.table = make([]place, size)
	for i, name := range s.names {
		s.enter(name.key, s.slotAt(i))
	}
}

func (s *shape) enter(key atom, slot int) {
	mask := uint64(len(s.table) - 1)
	i := key.Value().hash & mask
	for s.table[i].key != (atom{}) {
		i = (i + 1) & mask
	}
	s.table[i] = place{key, slot}
}

func hashNames(h uint64, name *spelled) uint64 {
	return (h ^ name.key.Value().hash) * 0x9E3779B97F4A7C15
}

// recentShapes has shared shapes by their hash. It is a cache like recentNames.
var recentShapes [1 << 8]atomic.Pointer[shape]

// shapeOf returns the shared shape of these names, or nil if one comes twice.
func shapeOf(names []*spelled) *shape {
	h := uint64(0)
	for _, name := range names {
		h = hashNames(h, name)
	}
	place := &recentShapes[(h>>32)%uint64(len(recentShapes))]
	if s := place.Load(); s != nil && s.hash == h && slices.EqualFunc(s.names, names, sameSpelling) {
		return s
	}
	s := &shape{names: slices.Clone(names), slots: make([]int, len(names)), hash: h, shared: true}
	next := 0
	for _, often := range []bool{true, false} {
		for i, name := range names {
			if oftenAsked[name.key] == often {
				s.slots[i] = next
				next++
			}
		}
	}
	s.index()
	for i, name := range names {
		if s.slot(name.key) != s.slots[i] {
			return nil
		}
		s.odd = s.odd || name.special != ordinary
	}
	if len(names) <= maxRemembered {
		place.Store(s)
	}
	return s
}

func sameSpelling(a, b *spelled) bool { return a == b || a.name == b.name }
