package probe

import (
	"regexp"
	"strings"
)

// A C library names itself in these words: the GNU one in its data, musl when its loader is run.
var (
	glibcBanner = regexp.MustCompile(`GNU C Library [^\n\x00]*release version ([0-9]+(?:\.[0-9]+)*)`)
	muslBanner  = regexp.MustCompile(`(?m)^musl libc.*\nVersion ([0-9]+(?:\.[0-9]+)*)`)
)

// parseGlibc finds the version in the data of the GNU C library, "" if there is none.
func parseGlibc(data []byte) string { return submatch(glibcBanner.FindSubmatch(data)) }

// parseMusl finds the version in what musl's loader prints, "" if there is none.
func parseMusl(data []byte) string { return submatch(muslBanner.FindSubmatch(data)) }

func submatch(m [][]byte) string {
	if m == nil {
		return ""
	}
	return strings.Clone(string(m[1]))
}
