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

// Misspelt returns the word of known that word is when one letter is added, left out, replaced or swapped with the
// next, or "" if there is none, or if word is known itself. Case is ignored. It finds fewer words than [Suggest], for
// names that are free to choose, and nothing for the shortest.
func Misspelt(word string, known []string) string {
	const shortest = 5 // of shorter names too many are alike
	near := ""
	for _, k := range known {
		switch {
		case strings.EqualFold(word, k):
			return ""
		case near == "" && len(word) >= shortest && oneOff(strings.ToLower(word), strings.ToLower(k)):
			near = k
		}
	}
	return near
}

// oneOff says whether one slip of a finger makes a of b, which are not the same.
func oneOff(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return max(len(a), len(b)) == 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}
