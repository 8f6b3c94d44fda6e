package systemdtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// commands gives the blocks of commands of one section of a document: what is indented, where each line
// is one of an administrator's.
func commands(t *testing.T, document, section string) (blocks [][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", document))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %q", document, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var block []string
	for line := range strings.Lines(text + "\nend\n") {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			block = append(block, strings.TrimSpace(command))
			continue
		}
		if len(block) > 0 && typed(block) {
			blocks = append(blocks, block)
		}
		block = nil
	}
	return blocks
}

// typed reports whether lines are commands to be typed.
func typed(block []string) bool {
	for _, line := range block {
		if !strings.HasPrefix(line, "sudo ") && !strings.HasPrefix(line, "make ") {
			return false
		}
	}
	return true
}
