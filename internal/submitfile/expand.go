package submitfile

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"skua/internal/adnames"
	"skua/policy/classad"
)

// Expand makes the ads of cluster's jobs. It checks what can be checked before anything is queued,
// such as that the executable is there, and fails with a Problem of package diag that names the
// place in the description. The same cluster gives the same ads every time.
//
// Most of a job's ad is the same for every job of a queue statement. Each builder therefore runs
// for the first one, and again for the others only if it looked at something that changes from job
// to job.
func (d *Description) Expand(cluster int) (*Submission, error) {
	e := &expansion{
		cluster: cluster, clusterText: itoa(cluster), common: classad.NewAd(), files: map[string]fileFacts{}, runtimes: map[string]string{},
		d: &Description{ // a copy, for its notes
			name: d.name, opts: d.opts, env: d.env, macros: d.macros, queues: d.queues,
			notes: slices.Clone(d.notes),
		},
	}
	if cluster == Unnumbered {
		e.clusterText, e.d.numberless = standIn, true
	}
	if err := e.d.checkLate(); err != nil {
		return nil, err
	}
	procs := make([]Proc, 0, d.jobs)
	for _, q := range d.queues {
		if q.jobs() == 0 {
			continue
		}
		var err error
		if procs, err = e.queue(q, procs); err != nil {
			return nil, err
		}
	}
	if len(procs) > 0 {
		if err := e.d.checkNames(); err != nil {
			return nil, err
		}
	}
	return &Submission{Cluster: e.common, Procs: procs, Notes: e.d.notes, Runtimes: e.runtimes}, nil
}

// checkLate refuses several queue statements in a description whose jobs are made one after another:
// what belongs to which would not be known any more.
func (d *Description) checkLate() error {
	if len(d.queues) < 2 {
		return nil
	}
	for _, name := range []string{"max_materialize", "max_idle", "materialize_max_idle"} {
		if def, ok := d.macros.get(name, d.queues[0].statement); ok && def.text != "" {
			return problem(d.queues[1].at, "leave "+name+" out, or write one \"queue ... from\"", "%s goes with one queue statement only", name)
		}
	}
	return nil
}

// expansion is one run of Expand.
type expansion struct {
	d           *Description
	cluster     int
	clusterText string // $(Cluster)
	common      *classad.Ad
	filled      bool // common has the attributes of the first job
	files       map[string]fileFacts
	runtimes    map[string]string // as in [Submission]
}

// fileFacts are what Stat said of a file.
type fileFacts struct {
	info fs.FileInfo
	err  error
	kb   int64 // size, rounded up; of a directory, of all in it
}

// builder makes some attributes of a job from some commands.
type builder struct {
	name  string
	build func(*proc) error
	index int // among those of a statement
}

// proc is a job in the making.
type proc struct {
	e       *expansion
	q       *queueStatement
	number  int
	step    int
	item    int             // index into the statement's items
	values  []string        // of the statement's variables
	forced  map[string]bool // attributes that +Name sets, which no builder overrides, in lower case
	inputs  []string
	builder string
	index   int               // of the builder
	random  *rand.Rand        // of this builder; nil until it draws
	changes bool              // the builder looked at something that changes from job to job
	out     []attribute       // what the builder has set
	err     error             // of setting it
	macros  expander          // with all but the place
	fixed   map[command]value // what get gave, and will give for every job
}

// queue appends the jobs of one queue statement to procs.
func (e *expansion) queue(q *queueStatement, procs []Proc) ([]Proc, error) {
	p := &proc{e: e, q: q, number: q.first, values: make([]string, len(q.vars)), forced: map[string]bool{}, fixed: map[command]value{}}
	p.macros = expander{d: e.d, statement: q.statement, variable: p.variableMacro, builtin: p.builtin, random: p.draw}
	all := slices.Clone(builders)
	for _, m := range e.d.macros.order {
		name := strings.ToLower(m.name)
		def, set := m.at(q.statement)
		if set && strings.HasPrefix(name, "my.") {
			p.forced[name[len("my."):]] = true
			all = append(all, builder{name: m.name, build: forcedAttribute(m.name)})
		} else if def.text != "" && isOwnResource(name) {
			all = append(all, builder{name: m.name, build: resourceAttribute(m.name)})
		}
	}
	p.setItem()
	var same, own []attribute // what all jobs of the statement have, and what only the first has
	final := map[string]int{} // of each attribute in same: the builder
	var again []builder
	for i, b := range all {
		b.index = i
		if err := p.run(b); err != nil {
			return nil, err
		}
		if p.changes {
			again, own = append(again, b), append(own, p.out...)
		} else {
			same = append(same, p.out...)
			for _, a := range p.out {
				final[a.name] = i
			}
		}
	}
	own = beaten(own, final)
	if err := p.run(builder{name: "notes", build: buildNothing}); err != nil {
		return nil, err
	}
	rows := make([]row, 1, q.jobs())
	rows[0] = row{p.number, p.inputs, own}
	slab := make([]attribute, 0, len(own)*(q.jobs()-1)) // what one job has as its own, many times
	for n := 1; n < q.jobs(); n++ {
		p.number, p.item, p.step = q.first+n, n/q.count, n%q.count
		p.setItem()
		from := len(slab)
		for _, b := range again {
			if err := p.run(b); err != nil {
				return nil, err
			}
			slab = append(slab, beaten(p.out, final)...)
		}
		rows = append(rows, row{p.number, p.inputs, slab[from:len(slab):len(slab)]})
	}
	same, rows = settle(same, rows)
	return e.finish(procs, e.share(same, rows[0].own), rows), nil
}

// setItem gives the variables the values of the current item. Those for which the row has no field
// keep what they had, as in HTCondor; the row has been reported.
func (p *proc) setItem() {
	if p.q.vars != nil {
		copy(p.values, splitItem(p.q.items[p.item], len(p.q.vars)))
	}
}

func (p *proc) run(b builder) error {
	p.index = b.index
	p.builder, p.changes, p.random, p.out = b.name, false, nil, p.out[:0]
	if err := b.build(p); err != nil {
		return err
	}
	return p.err
}

// variableMacro gives the variables of the queue statement.
func (p *proc) variableMacro(name string) (string, bool) {
	for i, v := range p.q.vars {
		if strings.EqualFold(v, name) {
			p.changes, p.q.used[i] = true, true
			return p.values[i], true
		}
	}
	return "", false
}

// builtin gives the macros that every job has of itself.
func (p *proc) builtin(name string) (string, bool) {
	n := 0
	switch strings.ToLower(name) {
	case "cluster", "clusterid":
		return p.e.clusterText, true
	case "jobid":
		p.changes = true
		return p.e.clusterText + "." + itoa(p.number), true
	case "process", "procid":
		n = p.number
	case "step":
		n = p.step
	case "itemindex", "row":
		if p.q.rows != nil {
			n = p.q.rows[p.item]
		}
	default:
		return "", false
	}
	p.changes = true
	return itoa(n), true
}

// draw gives a random number below n. It depends on the seed, the job, the command that asks and how
// often that has asked before, and on nothing else.
func (p *proc) draw(n uint64) uint64 {
	p.changes = true
	if p.random == nil {
		h := fnv.New64a()
		h.Write([]byte(strings.ToLower(p.builder)))
		p.random = rand.New(rand.NewPCG(p.e.d.opts.Seed^h.Sum64(), uint64(p.e.cluster)<<32^uint64(p.number)))
	}
	return p.random.Uint64N(n)
}

// expand replaces the macros of a value.
func (p *proc) expand(text string, at pos) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	x := p.macros
	x.at = at
	return x.expand(text)
}

// value is what a command says, its macros replaced. The zero value is a command that is not there,
// which is the same as an empty one.
type value struct {
	text     string
	raw      string // text, with the blanks that its macros have left around it
	name     string // the command as written
	at       pos
	verbatim bool // text stands at that place just so
	blank    bool // its macros left blanks and nothing else
}

func (v value) set() bool { return v.text != "" }

// get reads a command under the first of its names that is set.
func (p *proc) get(names ...string) (value, error) {
	key := command{names[0], len(names)}
	if v, ok := p.fixed[key]; ok {
		return v, nil
	}
	before := p.changes
	p.changes = false
	v, err := p.read(names)
	if err == nil && !p.changes {
		p.fixed[key] = v
	}
	p.changes = p.changes || before
	return v, err
}

// command is what get was asked for: no two lists of names begin alike and are equally long.
type command struct {
	name    string
	aliases int
}

func (p *proc) read(names []string) (value, error) {
	blank := false
	for _, name := range names {
		if v, ok := p.variable(name); ok {
			if v.set() {
				return v, nil
			}
			continue
		}
		def, ok := p.e.d.macros.get(name, p.q.statement)
		if !ok {
			continue
		}
		text, err := p.expand(def.text, def.at)
		if err != nil {
			return value{}, err
		}
		trimmed := strings.TrimSpace(text)
		if trimmed != "" {
			return value{text: trimmed, raw: text, name: name, at: def.at, verbatim: trimmed == def.text}, nil
		}
		blank = blank || text != ""
	}
	return value{blank: blank}, nil
}

// variable lets a queue variable be a command, as in "queue arguments from list.txt".
func (p *proc) variable(name string) (value, bool) {
	for i, v := range p.q.vars {
		if strings.EqualFold(v, name) {
			p.changes, p.q.used[i] = true, true
			return value{text: strings.TrimSpace(p.values[i]), raw: p.values[i], name: name, at: p.q.at}, true
		}
	}
	return value{}, false
}

// isForced reports whether a macro sets an attribute by its name.
func isForced(macro string) bool {
	return len(macro) > len("MY.") && strings.EqualFold(macro[:len("MY.")], "MY.")
}

// setExpr sets an attribute to the expression that a command gives.
func (p *proc) setExpr(attr string, v value) error {
	e, err := classad.ParseOldExpr(v.text)
	if err != nil {
		return exprError(attr, v, err)
	}
	p.doubt(attr, v, e)
	return p.put(attr, setting{expr: e})
}

// doubt notes names that are probably misspelt, in expressions that would only never be true because of it.
func (p *proc) doubt(attr string, v value, e *classad.Expr) {
	known := adnames.Job
	switch {
	case attr == "Rank":
		known = slices.Concat(adnames.Machine, adnames.Job)
	case !strings.HasPrefix(attr, "Periodic") && !strings.HasPrefix(attr, "OnExit"):
		return
	}
	for _, d := range adnames.Doubts(e, p.forced, known) {
		p.note(v.at, d)
	}
}

// setText sets an attribute to an expression that the package wrote itself.
func (p *proc) setText(attr, expr string) error {
	return p.setExpr(attr, value{text: expr, at: p.q.at})
}

func (p *proc) setString(attr, s string) { p.keep(p.put(attr, stringSetting(s))) }

func (p *proc) setInt(attr string, n int64) { p.keep(p.put(attr, intSetting(n))) }

func (p *proc) setReal(attr string, f float64) { p.keep(p.put(attr, realSetting(f))) }

func (p *proc) setBool(attr string, b bool) { p.keep(p.put(attr, boolSetting(b))) }

// keep lets a builder go on with an error that it reports in the end.
func (p *proc) keep(err error) { p.err = errors.Join(p.err, err) }

// boolOf reads a command that is true or false; def if it is not set.
func (p *proc) boolOf(def bool, names ...string) (b, set bool, err error) {
	v, err := p.get(names...)
	if err != nil || !v.set() {
		return def, false, err
	}
	b, err = v.boolean()
	return b, true, err
}

// boolean reads a value that is true or false now.
func (v value) boolean() (bool, error) {
	if e, err := classad.ParseOldExpr(v.text); err == nil {
		if n, ok := integerOf(e.Eval(classad.NewAd(), nil)); ok {
			return n != 0, nil
		}
	}
	return false, problem(v.at, "write true or false", "%s = %s is neither true nor false", v.name, clip(v.text))
}

// integer reads a value that is an integer now.
func (v value) integer() (int64, error) {
	if n, err := strconv.ParseInt(v.text, 10, 64); err == nil { // with zeros before it, too
		return n, nil
	}
	e, err := classad.ParseOldExpr(v.text)
	if err == nil {
		if n, ok := integerOf(e.Eval(classad.NewAd(), nil)); ok {
			return n, nil
		}
	}
	return 0, problem(v.at, "write a number", "%s = %s is not an integer", v.name, clip(v.text))
}

func (p *proc) note(at pos, text string) { p.e.d.note(at, text) }
