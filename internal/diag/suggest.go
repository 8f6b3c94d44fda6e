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
		if score > bestScore {
			best, bestScore = k, score
		}
	}
	return best
}

// DidYouMean phrases the suggestion for word as a hint, or returns "".
func DidYouMean(word string, known []string) string {
	if s := Suggest(word, known); s != "" {
		return `did you mean "` + s + `"?`
	}
	return ""
}
