package submitfile

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// micro is a description of a few lines and what HTCondor 23.9.6 made of it. The answers were made in
// the circumstances of the conformance corpus, in the directory testdata/corpus.
type micro struct {
	ID      string
	Text    string
	Error   string // why it was refused
	Differs string // why Skua's answer is another one, and knowingly so
	answer
}

// TestMicro compares with HTCondor on some two thousand descriptions, most of which try one value of one command.
func TestMicro(t *testing.T) {
	dir, err := filepath.Abs("testdata/corpus")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := readAnswer(dir, "plain")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/micro.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	differ, all := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); all++ {
		var m micro
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		m.complete(plain.Procs[0], "micro.sub")
		sub, err := submit("micro.sub", []byte(m.Text), conformanceOptions(dir))
		switch {
		case m.Error != "" && err != nil:
			err = nil
		case m.Error != "":
			err = errAccepted
		case err == nil:
			err = m.compare(sub, dir)
		}
		switch {
		case m.Differs != "" && err == nil:
			t.Errorf("%s agrees now, although %s", m.ID, m.Differs)
		case m.Differs != "":
			differ++
		case err != nil:
			t.Errorf("%s: %v\n%s", m.ID, err, m.Text)
		}
	}
	t.Logf("%d of %d descriptions are answered otherwise than by HTCondor, each for the reason given with it", differ, all)
}
