package diag

import (
	"strings"

	"github.com/agext/levenshtein"
)

// Suggest returns the word of known that was probably meant by word, or "" when none is near. Case
// is ignored; the returned word is spelled as in known.
func Suggest(word string, known []string) string {
	const nearEnough = 0.6 // similarity; below this a suggestion confuses more than it helps
	best, bestScore := "", nearEnough
	for _, k := range known {
		score := levenshtein.Match(strings.ToLower(word), strings.ToLower(k), nil)
		if exchanged(strings.ToLower(word), strings.ToLower(k)) {
			score = 1 // the commonest slip of all
		}
		if score > bestScore {
			best, bestScore = k, score
		}
	}
	return best
}

// exchanged reports whether two neighbouring letters make all the difference.
func exchanged(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) - 1 {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// DidYouMean phrases the suggestion for word as a hint, or returns "".
func DidYouMean(word string, known []string) string {
	if s := Suggest(word, known); s != "" {
		return `did you mean "` + s + `"?`
	}
	return ""
}
