package classad

import "time"

// Bounds of what is accepted and done. Ads come from strangers.
const (
	// maxSource is the size in bytes of a text that is parsed.
	maxSource = 8 << 20
	// maxNesting is how deeply parentheses, lists, ads and conditionals may stand within each other.
	maxNesting = 1000
	// maxHeight is the height of a syntax tree. A chain of n equal operators is n high, and people do
	// write Requirements that exclude a thousand machines by name.
	maxHeight = 10_000
	// maxAttrs is the number of attributes of an ad that is parsed.
	maxAttrs = 100_000

	// maxRemembered is the greatest length of a name, and number of names of an ad, that are kept for
	// others that are alike.
	maxRemembered = 1000

	// maxSteps is the number of tree nodes that one evaluation may visit. Functions that work on
	// much data pay for it in steps.
	maxSteps = 1_000_000
	// maxPattern is the length in bytes of a regular expression.
	maxPattern = 8 << 10
	// maxProgram is the number of instructions that one may become.
	maxProgram = 20_000
	// maxRegexpTime is what one evaluation may spend in the backtracking engine of regular expressions,
	// which needs a time limit because steps do not measure it.
	maxRegexpTime = 200 * time.Millisecond
	// maxStackDepth is the depth of nested evaluation, over all expressions involved.
	maxStackDepth = 20_000
	// maxReferences is the depth of attributes that lead to attributes. It is HTCondor's, and how
	// circles are found.
	maxReferences = 400
	// maxString is the length in bytes of a string that a function makes.
	maxString = 1 << 20
	// maxList is the number of elements of a list that a function makes.
	maxList = 100_000
)
