package probe

import "bytes"

// dhrystonesPerMips is what a VAX 11/780, which by definition has one MIPS, does in a second.
const dhrystonesPerMips = 1757

// This is Dhrystone 2.1 (R. P. Weicker): a mix of assignments, calls, branches, and work on records and
// texts that was typical of programs in 1984, and is comparable since.

// dhryEnum is Dhrystone's.
type dhryEnum int

const (
	ident1 dhryEnum = iota
	ident2
	ident3
	ident4
	ident5
)

// dhryText is a string of 30 characters.
type dhryText [30]byte

// dhryRecord is Dhrystone's, of which it uses one variant.
type dhryRecord struct {
	next     *dhryRecord
	kind     dhryEnum
	enum     dhryEnum
	integer  int
	contents dhryText
}

// dhry is what Dhrystone keeps in global variables.
type dhry struct {
	glob, nextGlob *dhryRecord
	integer        int
	boolean        bool
	ch1, ch2       byte
	arr1           [50]int
	arr2           [50][50]int
}

// dhrystone runs the benchmark's loop as often as it is told.
func dhrystone(times int) { newDhry().run(times) }

func newDhry() *dhry {
	d := &dhry{nextGlob: &dhryRecord{}, glob: &dhryRecord{}}
	d.glob.next, d.glob.kind, d.glob.enum, d.glob.integer = d.nextGlob, ident1, ident3, 40
	copy(d.glob.contents[:], "DHRYSTONE PROGRAM, SOME STRING")
	d.arr2[8][7] = 10
	return d
}

// result is what the local variables of the loop are at its end.
type dhryResult struct {
	int1, int2, int3 int
	enum             dhryEnum
	str1, str2       dhryText
}

func (d *dhry) run(times int) (r dhryResult) {
	copy(r.str1[:], "DHRYSTONE PROGRAM, 1'ST STRING")
	second, third := dhryText{}, dhryText{}
	copy(second[:], "DHRYSTONE PROGRAM, 2'ND STRING")
	copy(third[:], "DHRYSTONE PROGRAM, 3'RD STRING")
	for i := 1; i <= times; i++ {
		d.proc5()
		d.proc4()
		r.int1, r.int2 = 2, 3
		r.str2 = second
		r.enum = ident2
		d.boolean = !d.func2(&r.str1, &r.str2)
		for r.int1 < r.int2 {
			r.int3 = 5*r.int1 - r.int2
			proc7(r.int1, r.int2, &r.int3)
			r.int1++
		}
		d.proc8(&d.arr1, &d.arr2, r.int1, r.int3)
		d.proc1(d.glob)
		for ch := byte('A'); ch <= d.ch2; ch++ {
			if r.enum == d.func1(ch, 'C') {
				d.proc6(ident1, &r.enum)
				r.str2 = third
				r.int2 = i
				d.integer = i
			}
		}
		r.int2 *= r.int1
		r.int1 = r.int2 / r.int3
		r.int2 = 7*(r.int2-r.int3) - r.int1
		d.proc2(&r.int1)
	}
	return r
}

//go:noinline
func (d *dhry) proc1(p *dhryRecord) {
	next := p.next
	*p.next = *d.glob
	p.integer = 5
	next.integer = p.integer
	next.next = p.next
	d.proc3(&next.next)
	if next.kind == ident1 {
		next.integer = 6
		d.proc6(p.enum, &next.enum)
		next.next = d.glob.next
		proc7(next.integer, 10, &next.integer)
	} else {
		*p = *p.next
	}
}

//go:noinline
func (d *dhry) proc2(n *int) {
	for local := *n + 10; ; {
		if d.ch1 == 'A' {
			local--
			*n = local - d.integer
			return
		}
	}
}

//go:noinline
func (d *dhry) proc3(p **dhryRecord) {
	if d.glob != nil {
		*p = d.glob.next
	}
	proc7(10, d.integer, &d.glob.integer)
}

//go:noinline
func (d *dhry) proc4() {
	isA := d.ch1 == 'A'
	d.boolean = isA || d.boolean
	d.ch2 = 'B'
}

//go:noinline
func (d *dhry) proc5() {
	d.ch1 = 'A'
	d.boolean = false
}

//go:noinline
func (d *dhry) proc6(in dhryEnum, out *dhryEnum) {
	*out = in
	if !func3(in) {
		*out = ident4
	}
	switch in {
	case ident1:
		*out = ident1
	case ident2:
		*out = ident4
		if d.integer > 100 {
			*out = ident1
		}
	case ident3:
		*out = ident2
	case ident5:
		*out = ident3
	}
}

//go:noinline
func proc7(a, b int, sum *int) { *sum = b + a + 2 }

//go:noinline
func (d *dhry) proc8(arr1 *[50]int, arr2 *[50][50]int, a, b int) {
	at := a + 5
	arr1[at] = b
	arr1[at+1] = arr1[at]
	arr1[at+30] = at
	for i := at; i <= at+1; i++ {
		arr2[at][i] = at
	}
	arr2[at][at-1]++
	arr2[at+20][at] = arr1[at]
	d.integer = 5
}

//go:noinline
func (d *dhry) func1(a, b byte) dhryEnum {
	if a != b {
		return ident1
	}
	d.ch1 = a
	return ident2
}

//go:noinline
func (d *dhry) func2(a, b *dhryText) bool {
	var ch byte
	for at := 2; at <= 2; {
		if d.func1(a[at], b[at+1]) == ident1 {
			ch = 'A'
			at++
		}
	}
	if ch == 'R' {
		return true
	}
	if bytes.Compare(a[:], b[:]) > 0 {
		d.integer = 2 + 7
		return true
	}
	return false
}

//go:noinline
func func3(e dhryEnum) bool { return e == ident3 }
