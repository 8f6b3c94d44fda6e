//go:build !linux

package probe

import (
	"context"

	"skua/policy/classad"
)

// libcFacts has nothing to tell: programs bring theirs.
func libcFacts(context.Context, FactsConfig, *classad.Ad) error { return nil }
