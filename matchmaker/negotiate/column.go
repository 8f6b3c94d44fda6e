package negotiate

import "slices"

// column is an attribute of all jobs of a batch: a table's column, as far as it has been looked at.
type column struct {
	name   string
	values []string         // the different ones, as printed
	number map[string]int32 // of each
	of     []int32          // by proc: 1 + the number of its value; 0 if it has not been looked at
	reads  reading          // what all of them read
	seen   map[string]bool  // that are in reads
}

// columnKey names a column in a [Memo].
type columnKey struct {
	table any
	name  string
}

// columns gives columns of a batch, in the order of the names. Only the ads of jobs are made that no
// earlier cycle has seen.
func (k *keys) columns(b *Batch, names []string) []*column {
	if len(names) == 0 {
		return nil
	}
	all := make([]*column, len(names))
	upto := b.Procs[len(b.Procs)-1].Upto
	for i, name := range names {
		all[i] = k.column(b, name)
		if n := upto - len(all[i].of); n > 0 {
			all[i].of = append(all[i].of, make([]int32, n)...)
		}
	}
	b.each(func(proc int) {
		if !slices.ContainsFunc(all, func(c *column) bool { return c.of[proc] == 0 }) {
			return
		}
		ad := b.adOf(proc)
		for _, c := range all {
			if c.of[proc] == 0 {
				c.of[proc] = 1 + c.add(k.memo.textOf(ad, c.name))
				if e, ok := ad.Lookup(c.name); ok {
					if _, literal := e.Literal(); !literal {
						c.read(k.memo.exprs.of(e, readExpr))
					}
				}
			}
		}
	})
	return all
}

// column finds the column, or begins it.
func (k *keys) column(b *Batch, name string) *column {
	key := columnKey{b.Table, name}
	if b.Table == nil {
		key.table = b // of this cycle alone, see [Memo.end]
	}
	c, ok := k.memo.columns.now[key]
	if !ok {
		if c, ok = k.memo.columns.before[key]; !ok {
			c = &column{name: name, number: map[string]int32{}, seen: map[string]bool{}}
		}
		k.memo.columns.now[key] = c
	}
	return c
}

func (c *column) add(value string) int32 {
	n, ok := c.number[value]
	if !ok {
		n = int32(len(c.values))
		c.number[value] = n
		c.values = append(c.values, value)
	}
	return n
}

func (c *column) read(r reading) {
	c.reads.untold = c.reads.untold || r.untold
	for _, name := range r.names {
		if !c.seen[name] {
			c.seen[name] = true
			c.reads.names = append(c.reads.names, name)
		}
	}
}

// part is the jobs of a batch that have the same values in some columns.
type part struct {
	values map[string]string // by column
	procs  []Range
}

// split takes a batch apart by its columns.
func split(b *Batch, columns []*column) []*part {
	var all []*part
	known := map[string]*part{}
	var key []byte
	b.each(func(proc int) {
		key = key[:0]
		for _, c := range columns {
			n := c.of[proc]
			key = append(key, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		}
		p := known[string(key)]
		if p == nil {
			p = &part{values: map[string]string{}}
			for _, c := range columns {
				p.values[c.name] = c.values[c.of[proc]-1]
			}
			known[string(key)] = p
			all = append(all, p)
		}
		if n := len(p.procs); n > 0 && p.procs[n-1].Upto == proc {
			p.procs[n-1].Upto++
		} else {
			p.procs = append(p.procs, Range{proc, proc + 1})
		}
	})
	return all
}
