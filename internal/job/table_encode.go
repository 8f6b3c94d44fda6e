package job

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"skua/internal/blob"
	"skua/policy/classad"
)

// EncodeTable writes down what differs between the jobs of a cluster: their own ads, which are chained to
// common, and their inputs, a list for each or one for all. Attributes that all jobs have alike go into
// common. ProcId, which is the number of the row, is left out.
func EncodeTable(common *classad.Ad, procs []*classad.Ad, inputs [][]File) ([]byte, error) {
	if len(procs) == 0 || len(procs) > MaxProcs {
		return nil, fmt.Errorf("table of jobs: %d rows: from 1 to %d are possible", len(procs), MaxProcs)
	}
	if len(inputs) > 1 && len(inputs) != len(procs) {
		return nil, fmt.Errorf("table of jobs: %d lists of inputs for %d rows", len(inputs), len(procs))
	}
	for _, ad := range procs {
		ad.SetParent(nil) // to see what is its own
	}
	defer func() {
		for _, ad := range procs {
			ad.SetParent(common)
		}
	}()
	columns := raiseCommon(common, procs)
	to, err := blob.NewCompressor()
	if err != nil {
		return nil, fmt.Errorf("table of jobs: %w", err)
	}
	e := tableEncoder{known: map[string]int{}, rows: stackEncoder{to: to}, files: stackEncoder{to: to}}
	for i, ad := range procs {
		for _, name := range columns {
			e.cell(ad, name)
		}
		var list []File
		switch len(inputs) {
		case 0:
		case 1:
			list = inputs[0]
		default:
			list = inputs[i]
		}
		if err := e.list(list); err != nil {
			return nil, fmt.Errorf("table of jobs: row %d: %w", i, err)
		}
		if err := e.rows.end(); err != nil {
			return nil, fmt.Errorf("table of jobs: row %d: %w", i, err)
		}
	}
	data := binary.AppendUvarint([]byte(tableMagic), uint64(len(procs)))
	data = binary.AppendUvarint(data, uint64(len(columns)))
	for _, name := range columns {
		data = appendText(data, name)
	}
	for _, s := range []*stackEncoder{&e.rows, &e.files} {
		s.close()
		data = append(binary.AppendUvarint(data, uint64(s.blocks)), s.index...)
	}
	if n := max(e.rows.size, e.files.size); n > maxTableText {
		return nil, fmt.Errorf("table of jobs: %d MB are more than the rows may come to (%d MB)", n>>20, maxTableText>>20)
	}
	data = append(append(data, e.rows.data...), e.files.data...)
	if len(data) > MaxTable {
		return nil, fmt.Errorf("table of jobs: %d MB are more than one may have (%d MB)", len(data)>>20, MaxTable>>20)
	}
	return data, nil
}

// raiseCommon puts what all jobs have alike into their cluster's ad and gives the names of the other attributes
// that they have.
func raiseCommon(common *classad.Ad, procs []*classad.Ad) []string {
	var columns []string
	for _, name := range namesOf(procs) {
		if e, ok := alike(procs, name); ok {
			common.Set(name, e)
		} else {
			columns = append(columns, name)
		}
	}
	return columns
}

// varying names the attributes that not all ads have alike, chained ones included.
func varying(ads []*classad.Ad) []string {
	if len(ads) < 2 {
		return nil
	}
	return slices.DeleteFunc(namesOf(ads), func(name string) bool {
		_, ok := alike(ads, name)
		return ok
	})
}

// namesOf gives the names of the attributes that the ads have of their own, but for ProcId.
func namesOf(ads []*classad.Ad) []string {
	var names, last []string
	seen := map[string]bool{"procid": true} // in lower case
	for _, ad := range ads {
		own := ad.Names()
		if slices.Equal(own, last) {
			continue
		}
		last = own
		for _, name := range own {
			if key := strings.ToLower(name); !seen[key] {
				seen[key] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// alike gives the value of an attribute that is the same in all ads; false when there is none.
func alike(ads []*classad.Ad, name string) (*classad.Expr, bool) {
	first, ok := ads[0].Lookup(name)
	if !ok {
		return nil, false
	}
	for _, ad := range ads[1:] {
		if e, ok := ad.Lookup(name); !ok || !sameExpr(first, e) {
			return nil, false
		}
	}
	return first, true
}

func sameExpr(a, b *classad.Expr) bool {
	if a == b {
		return true
	}
	v, plainA := a.Literal()
	w, plainB := b.Literal()
	if plainA && plainB && v.Kind() == w.Kind() && v.Kind() == classad.String {
		s, _ := v.Str()
		r, _ := w.Str()
		return s == r
	}
	return plainA == plainB && a.String() == b.String()
}

// tableEncoder makes the records of a table.
type tableEncoder struct {
	rows, files stackEncoder
	known       map[string]int // numbers of files, by their records
	last        []File         // the list before
	numbers     []byte         // as encoded
	record      []byte
}

// cell adds an attribute to the row.
func (e *tableEncoder) cell(ad *classad.Ad, name string) {
	expr, ok := ad.Lookup(name)
	if !ok {
		e.rows.add(cellNone)
		return
	}
	v, plain := expr.Literal()
	if plain {
		switch v.Kind() {
		case classad.Integer:
			n, _ := v.Int()
			e.rows.add(cellInt)
			e.rows.text = binary.AppendVarint(e.rows.text, n)
			return
		case classad.Boolean:
			if b, _ := v.Bool(); b {
				e.rows.add(cellTrue)
			} else {
				e.rows.add(cellFalse)
			}
			return
		case classad.String:
			if s, _ := v.Str(); strings.IndexByte(s, 0) < 0 {
				e.rows.add(cellString)
				e.rows.text = appendText(e.rows.text, s)
				return
			}
		}
	}
	text := expr.String()
	if s, ok := aroundCluster(text); ok {
		e.rows.add(cellClustered)
		e.rows.text = appendText(e.rows.text, s)
		return
	}
	e.rows.add(cellExpr)
	e.rows.text = appendText(e.rows.text, text)
}

// aroundCluster recognises strcat("out.", ClusterId, ".17"), which is a string when the number is known, and gives
// the string with a zero byte for the number.
func aroundCluster(text string) (string, bool) {
	inner, ok := strings.CutPrefix(text, `strcat("`)
	inner, closed := strings.CutSuffix(inner, `")`)
	if !ok || !closed || strings.ContainsAny(inner, "\\\x00") {
		return "", false
	}
	joined := strings.ReplaceAll(inner, `", ClusterId, "`, "\x00")
	return joined, !strings.Contains(joined, `"`)
}

// list adds a job's files to the row.
func (e *tableEncoder) list(files []File) error {
	if len(files) > MaxInputs {
		return fmt.Errorf("%d files: %d are possible", len(files), MaxInputs)
	}
	if len(files) != len(e.last) || len(files) == 0 || &files[0] != &e.last[0] {
		e.last = files
		e.numbers = binary.AppendUvarint(e.numbers[:0], uint64(len(files)))
		for _, f := range files {
			n, err := e.file(f)
			if err != nil {
				return err
			}
			e.numbers = binary.AppendUvarint(e.numbers, uint64(n))
		}
	}
	e.rows.text = append(e.rows.text, e.numbers...)
	return nil
}

// file gives the number of a file.
func (e *tableEncoder) file(f File) (int, error) {
	r := appendText(e.record[:0], f.Name)
	r = binary.AppendUvarint(r, uint64(f.Mode))
	r = binary.AppendUvarint(r, uint64(f.Size))
	if f.Digest != "" {
		sum, err := hex.DecodeString(string(f.Digest))
		if err != nil || len(sum) != digestSize {
			return 0, fmt.Errorf("file %s has the digest %.80q", f.Name, f.Digest)
		}
		r = append(append(r, fileStored), sum...)
	} else {
		r = appendText(append(r, fileInline), string(f.Inline))
	}
	e.record = r
	if n, ok := e.known[string(r)]; ok {
		return n, nil
	}
	n := len(e.known)
	if n == maxTableFiles {
		return 0, fmt.Errorf("more than %d different files", maxTableFiles)
	}
	e.known[string(r)] = n
	e.files.text = append(e.files.text, r...)
	return n, e.files.end()
}

// stackEncoder gathers records into blocks.
type stackEncoder struct {
	to      blob.Compressor
	text    []byte // of the block that is being filled
	ends    int    // where the last record in it that is complete ends
	records int    // so many of them
	blocks  int    // closed
	size    int    // bytes in them
	index   []byte
	data    []byte
}

// add begins a cell.
func (s *stackEncoder) add(kind byte) { s.text = append(s.text, kind) }

// end completes a record.
func (s *stackEncoder) end() error {
	if n := len(s.text) - s.ends; n > maxRow {
		return fmt.Errorf("it takes %d bytes, and %d are possible", n, maxRow)
	}
	s.records++
	s.ends = len(s.text)
	if len(s.text) >= blockSize || s.records == blockRecords {
		s.close()
	}
	return nil
}

// close completes a block.
func (s *stackEncoder) close() {
	if s.records == 0 {
		return
	}
	before := len(s.data)
	s.size += len(s.text)
	s.data = s.to.Append(s.data, s.text)
	for _, n := range []int{s.records, len(s.text), len(s.data) - before} {
		s.index = binary.AppendUvarint(s.index, uint64(n))
	}
	s.text, s.ends, s.records = s.text[:0], 0, 0
	s.blocks++
}

func appendText(data []byte, text string) []byte {
	return append(binary.AppendUvarint(data, uint64(len(text))), text...)
}
