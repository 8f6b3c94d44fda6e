package submitfile

import (
	"slices"
	"sort"
	"strings"

	"skua/internal/diag"
)

// table holds every macro of a description with all values it has had. Commands, macros and
// attributes (under "MY." and their name) share it, as in HTCondor.
//
// A queue statement sees the values of its moment, and several may follow one another. Keeping each
// value with the number of the statement that set it lets all of them look into one table.
type table struct {
	byName map[string]*macro
	order  []*macro // in order of first definition
}

type macro struct {
	name   string // as first written
	values []definition
	used   bool
}

type definition struct {
	statement int
	text      string
	at        pos // of the value
}

func newTable() *table { return &table{byName: map[string]*macro{}} }

func (t *table) set(name string, d definition) {
	key := strings.ToLower(name)
	m := t.byName[key]
	if m == nil {
		m = &macro{name: name}
		t.byName[key] = m
		t.order = append(t.order, m)
	}
	m.values = append(m.values, d)
}

// get returns the definition that name has at a statement, which may be an empty one.
func (t *table) get(name string, statement int) (definition, bool) {
	m := t.byName[strings.ToLower(name)]
	if m == nil {
		return definition{}, false
	}
	m.used = true
	return m.at(statement)
}

// at returns the definition of a statement's moment, which may be empty.
func (m *macro) at(statement int) (definition, bool) {
	i := sort.Search(len(m.values), func(i int) bool { return m.values[i].statement > statement })
	if i == 0 {
		return definition{}, false
	}
	return m.values[i-1], true
}

// jobMacros are those that every job has of itself, in the spelling of HTCondor's manual.
var jobMacros = []string{"Process", "ProcId", "Cluster", "ClusterId", "Step", "Row", "Item", "ItemIndex"}

// noteNothing remarks that a macro stands for nothing, as one does whose name was misspelt: once, however many jobs have it.
func (d *Description) noteNothing(at pos, name string) {
	switch strings.ToUpper(name) {
	case "REQUESTCPUS", "REQUESTMEMORY": // of the predefined REQUEST_CPUS
		return
	}
	if d.nothing[name] || len(d.nothing) >= maxNotes {
		return
	}
	if d.nothing == nil {
		d.nothing = make(map[string]bool)
	}
	d.nothing[name] = true
	known := slices.Clone(jobMacros)
	for _, m := range d.macros.order {
		known = append(known, m.name)
	}
	text := "$(" + name + ") has no value and stands for nothing"
	if near := diag.Suggest(name, known); near != "" && veryNear(strings.ToLower(name), strings.ToLower(near)) {
		text += "; did you mean $(" + near + ")?"
	}
	d.note(at, text)
}

// predefined gives the macros that every description has.
func (d *Description) predefined(name string) (string, bool) {
	switch strings.ToUpper(name) {
	case "ARCH":
		return d.arch(), true
	case "OPSYS":
		return d.opSys(), true
	case "ISLINUX":
		return bit(d.opSys() == "LINUX"), true
	case "ISWINDOWS":
		return bit(d.opSys() == "WINDOWS"), true
	case "OPSYSVER":
		return d.opts.OpSysVer, true
	case "OPSYSMAJORVER":
		return d.opts.OpSysMajorVer, true
	case "OPSYSANDVER":
		return d.opts.OpSysAndVer, true
	case "SUBMIT_FILE":
		return d.name, true
	case "REQUEST_CPUS":
		return "$(RequestCpus)", true
	case "REQUEST_MEMORY":
		return "$(RequestMemory)", true
	case "NODE":
		return "", true
	}
	if d.opts.Now.IsZero() {
		return "", false
	}
	switch now := d.opts.Now; strings.ToUpper(name) {
	case "SUBMIT_TIME":
		return itoa(int(now.Unix())), true
	case "YEAR":
		return now.Format("2006"), true
	case "MONTH":
		return now.Format("01"), true
	case "DAY":
		return now.Format("02"), true
	case "HOUR":
		return now.Format("15"), true
	case "MINUTE":
		return now.Format("04"), true
	case "SECOND":
		return now.Format("05"), true
	}
	return "", false
}

func (d *Description) arch() string {
	if d.opts.Arch != "" {
		return d.opts.Arch
	}
	return "X86_64"
}

func (d *Description) opSys() string {
	if d.opts.OpSys != "" {
		return d.opts.OpSys
	}
	return "LINUX"
}

// clip shortens a text for a message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
