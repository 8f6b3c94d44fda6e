package submitfile

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	commandRow = regexp.MustCompile("(?m)^\\| (`[a-z0-9_]+`(?:, `[a-z0-9_]+`)*) \\| ")
	quotedWord = regexp.MustCompile("`([^`]+)`")
)

// TestCommandsAreDocumented compares the commands with docs/jobs.md, which has a row for each.
func TestCommandsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	_, rows, _ := strings.Cut(string(text), "\n## What to run\n")
	for _, row := range commandRow.FindAllStringSubmatch(rows, -1) {
		for _, name := range quotedWord.FindAllStringSubmatch(row[1], -1) {
			if documented[name[1]] {
				t.Errorf("docs/jobs.md explains %s twice", name[1])
			}
			documented[name[1]] = true
			if !known[name[1]] {
				t.Errorf("docs/jobs.md explains %s, which is no command", name[1])
			}
		}
	}
	attributes := map[string]bool{} // names of attributes that are commands, too, which nobody should write
	for _, s := range simple {
		attributes[strings.ToLower(s.attr)] = true
	}
	for name := range known {
		if !documented[name] && (strings.Contains(name, "_") || !attributes[name] && !knownAttr[name]) {
			t.Errorf("docs/jobs.md does not explain %s", name)
		}
	}
}

// TestExamplesAreValid expands the example in each row.
func TestExamplesAreValid(t *testing.T) {
	text, err := os.ReadFile("../../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.HasSuffix(line, "` |") {
			continue
		}
		example := strings.Trim(strings.TrimSuffix(cells[3], " |"), "`")
		opts := here()
		opts.Stat = nil // examples name files that are not there
		src := "executable = sim\nshould_transfer_files = YES\n" + example + "\nqueue\n"
		d, err := Parse("docs/jobs.md", []byte(src), opts)
		if err == nil {
			_, err = d.Expand(1)
		}
		if err != nil {
			t.Errorf("the example %q: %v", example, err)
		}
		n++
	}
	if n < 80 {
		t.Errorf("only %d examples found", n)
	}
}
