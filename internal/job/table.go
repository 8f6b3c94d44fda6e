package job

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"

	"skua/internal/blob"
	"skua/policy/classad"
)

// Bounds of a table.
const (
	MaxProcs       = 1_000_000 // rows, and procs of any cluster
	MaxTable       = 64 << 20  // bytes as encoded
	MaxInlineTable = 64 << 10  // bytes up to which it travels inside a message, as encoded

	maxColumns     = 1000
	maxTableFiles  = 1_000_000
	maxTableText   = 128 << 20 // bytes of all rows, and of all files, before they are compressed
	maxTableExprs  = 16 << 20  // bytes of expressions that are to be parsed, each counted once in a block
	maxRow         = MaxEncoded
	blockSize      = 32 << 10 // what a block of records comes to before it is closed, in bytes
	blockRecords   = 1024
	maxBlockText   = blockSize + maxRow
	tableMagic     = "skua table 1\n"
	digestSize     = 32
	maxNameInTable = 4096
)

// A Table is what differs between the jobs of a large cluster: for each job, a row, some attributes and the
// list of its input files. It stays as small in memory as it is encoded, some bytes a row, and makes the ad of
// a row when it is asked for, which is the same each time. It may be read concurrently.
//
// Encoded, it is
//
//	magic, rows, columns {name}, index of rows, index of files, blocks
//	index: blocks {records, bytes, bytes compressed}
//
// with all numbers as unsigned varints and names as their length and bytes. A block is the zstd of up to 1024
// records. That of a row is a cell for each column and the numbers of its files; a cell is one of the kinds
// below and what belongs to it. That of a file is its name, mode and size and either its digest or itself. The
// number of the cluster, which is given after the table has been made, stands in strings as a zero byte.
type Table struct {
	columns  []string
	rows     stack
	files    stack
	size     int
	template *classad.Ad // has all columns; ads of rows are clones of it
	list     atomic.Pointer[fileList]
}

// The kinds of cells.
const (
	cellNone   = iota // the row has no such attribute
	cellInt           // zigzag varint
	cellString        // length, bytes
	cellExpr          // length, expression in the new ClassAd syntax
	cellTrue
	cellFalse
	cellClustered // like cellString, with zero bytes where the number of the cluster is to be
)

// The kinds of files.
const (
	fileStored = iota // 32 bytes: its digest
	fileInline        // length, content
)

// ReadTable reads what [EncodeTable] made, all of it: a table that it gives has no row that cannot be made into
// an ad. It keeps data.
func ReadTable(data []byte) (*Table, error) {
	t, err := readTable(data)
	if err != nil {
		return nil, fmt.Errorf("table of jobs: %w", err)
	}
	return t, nil
}

func readTable(data []byte) (*Table, error) {
	if len(data) > MaxTable {
		return nil, fmt.Errorf("%d bytes are more than it may have (%d)", len(data), MaxTable)
	}
	rest, ok := bytes.CutPrefix(data, []byte(tableMagic))
	if !ok {
		return nil, errors.New("it does not begin as one of version 1 does")
	}
	d := decoder{rest: rest}
	rows := d.number(MaxProcs)
	columns := d.number(maxColumns)
	t := &Table{size: len(data)}
	for range columns {
		name := string(d.bytes(maxNameInTable))
		if d.err != nil {
			return nil, d.err
		}
		t.columns = append(t.columns, name)
	}
	if err := t.makeTemplate(); err != nil {
		return nil, err
	}
	t.rows.index(&d)
	t.files.index(&d)
	if d.err != nil {
		return nil, d.err
	}
	if t.rows.len() != rows || rows == 0 {
		return nil, fmt.Errorf("it says that it has %d rows, and has %d", rows, t.rows.len())
	}
	if t.files.len() > maxTableFiles {
		return nil, fmt.Errorf("%d files are more than it may have (%d)", t.files.len(), maxTableFiles)
	}
	rest, ok = t.rows.take(d.rest)
	if ok {
		rest, ok = t.files.take(rest)
	}
	if !ok || len(rest) > 0 {
		return nil, errors.New("it is longer or shorter than its index says")
	}
	t.rows.skip, t.files.skip = t.skipRow, skipFile
	from, err := blob.NewDecompressor()
	if err != nil {
		return nil, err
	}
	t.rows.from, t.files.from = from, from
	if err := t.files.check(); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	if err := t.rows.check(); err != nil {
		return nil, fmt.Errorf("rows: %w", err)
	}
	return t, nil
}

// makeTemplate makes an ad that shares the table of its names with all its clones.
func (t *Table) makeTemplate() error {
	all := classad.NewAd()
	for _, name := range t.columns {
		all.SetInt(name, 0)
	}
	if all.Len() != len(t.columns) {
		return errors.New("two columns have one name")
	}
	var err error
	t.template, err = classad.ParseAd(all.String())
	if err != nil || !slices.Equal(t.template.Names(), t.columns) {
		return errors.New("the name of a column is not one of an attribute")
	}
	return nil
}

// Len is the number of rows.
func (t *Table) Len() int { return t.rows.len() }

// Size is the size in bytes of the table as encoded.
func (t *Table) Size() int { return t.size }

// Columns are the attributes that the rows may have.
func (t *Table) Columns() []string { return t.columns }

// Ad makes the ad of a row in the cluster with that number, chained to parent.
func (t *Table) Ad(row, cluster int, parent *classad.Ad) *classad.Ad {
	ad := t.template.Clone()
	t.fill(ad, row, cluster)
	ad.SetParent(parent)
	return ad
}

// fill sets the attributes of a row in an ad that has all columns. It is false when the ad has not all of them any
// more.
func (t *Table) fill(ad *classad.Ad, row, cluster int) (whole bool) {
	b := t.rows.block(row)
	d := decoder{rest: b.record(row)}
	whole = true
	for _, name := range t.columns {
		switch d.byte() {
		case cellNone:
			ad.Delete(name)
			whole = false
		case cellInt:
			ad.SetInt(name, d.signed())
		case cellString:
			ad.SetString(name, string(d.bytes(maxRow)))
		case cellExpr:
			ad.Set(name, b.exprs[string(d.bytes(maxRow))])
		case cellTrue:
			ad.SetBool(name, true)
		case cellFalse:
			ad.SetBool(name, false)
		case cellClustered:
			ad.SetString(name, withCluster(d.bytes(maxRow), cluster))
		}
	}
	return whole
}

// withCluster puts the number of the cluster into a string.
func withCluster(text []byte, cluster int) string {
	return string(bytes.ReplaceAll(text, []byte{0}, strconv.AppendInt(nil, int64(cluster), 10)))
}

// RowSize is what a row takes, in bytes, without what its files take.
func (t *Table) RowSize(row int) int { return len(t.rows.block(row).record(row)) }

// Inputs gives the input files of a row. Rows with the same files may share the list.
func (t *Table) Inputs(row int) []File {
	d := decoder{rest: t.rows.block(row).record(row)}
	for range t.columns {
		d.skipCell(nil)
	}
	if last := t.list.Load(); last != nil && bytes.Equal(last.numbers, d.rest) {
		return last.files
	}
	numbers := d.rest
	files := make([]File, d.number(MaxInputs))
	for i := range files {
		files[i] = t.file(d.number(maxTableFiles))
	}
	if len(files) == 0 {
		files = nil
	}
	t.list.Store(&fileList{numbers, files})
	return files
}

// fileList is the inputs of the row that was asked for last, which often are those of the next.
type fileList struct {
	numbers []byte
	files   []File
}

// Files calls f with every file of the table until f is false.
func (t *Table) Files(f func(File) bool) {
	for i := range t.files.len() {
		if !f(t.file(i)) {
			return
		}
	}
}

func (t *Table) file(i int) File {
	d := decoder{rest: t.files.block(i).record(i)}
	return d.file()
}

// skipRow checks the record of a row and gives what comes after it. The expressions that it has are added to
// exprs.
func (t *Table) skipRow(text []byte, exprs *map[string]*classad.Expr) ([]byte, error) {
	d := decoder{rest: text}
	for range t.columns {
		d.skipCell(exprs)
	}
	for range d.number(MaxInputs) {
		if n := d.number(maxTableFiles); d.err == nil && n >= t.files.len() {
			return nil, fmt.Errorf("it names file %d of %d", n, t.files.len())
		}
	}
	return d.rest, d.err
}

func skipFile(text []byte, _ *map[string]*classad.Expr) ([]byte, error) {
	d := decoder{rest: text}
	d.file()
	return d.rest, d.err
}

// decoder takes a text apart. After the first error it gives zeros.
type decoder struct {
	rest []byte
	err  error
}

var errCut = errors.New("it is cut off or damaged")

func (d *decoder) fail() {
	d.rest = nil
	if d.err == nil {
		d.err = errCut
	}
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail()
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// number takes one of at most limit.
func (d *decoder) number(limit int) int {
	n, width := binary.Uvarint(d.rest)
	if width <= 0 || n > uint64(limit) {
		d.fail()
		return 0
	}
	d.rest = d.rest[width:]
	return int(n)
}

func (d *decoder) signed() int64 {
	n, width := binary.Varint(d.rest)
	if width <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[width:]
	return n
}

// bytes takes a length of at most limit and so many bytes, which are not copied.
func (d *decoder) bytes(limit int) []byte {
	n := d.number(limit)
	if n > len(d.rest) {
		d.fail()
		return nil
	}
	text := d.rest[:n]
	d.rest = d.rest[n:]
	return text
}

// skipCell checks a cell and passes it by. The expression that it may have is added to exprs, if that is not
// nil.
func (d *decoder) skipCell(exprs *map[string]*classad.Expr) {
	switch kind := d.byte(); kind {
	case cellNone, cellTrue, cellFalse:
	case cellInt:
		d.signed()
	case cellString, cellClustered:
		d.bytes(maxRow)
	case cellExpr:
		text := d.bytes(maxRow)
		if exprs == nil || d.err != nil || (*exprs)[string(text)] != nil {
			return
		}
		e, err := classad.ParseExpr(string(text))
		if err != nil {
			d.err = err
			return
		}
		if *exprs == nil {
			*exprs = map[string]*classad.Expr{}
		}
		(*exprs)[string(text)] = e
	default:
		d.fail()
	}
}

// file takes a file: its name, mode and size, and its digest or itself.
func (d *decoder) file() File {
	f := File{Name: string(d.bytes(maxNameInTable)), Mode: uint32(d.number(math.MaxInt32)), Size: int64(d.number(math.MaxInt64))}
	switch d.byte() {
	case fileStored:
		if len(d.rest) < digestSize {
			d.fail()
			return File{}
		}
		f.Digest = blob.Digest(hex.EncodeToString(d.rest[:digestSize]))
		d.rest = d.rest[digestSize:]
	case fileInline:
		f.Inline = bytes.Clone(d.bytes(MaxInline))
		if f.Size != int64(len(f.Inline)) {
			d.fail()
		}
	default:
		d.fail()
	}
	return f
}
