//go:build !linux && !windows

package probe

import (
	"context"
	"runtime"
	"strings"

	"skua/policy/classad"
)

func systemFacts(_ context.Context, _ FactsConfig, ad *classad.Ad) error {
	opSys{family: strings.ToUpper(runtime.GOOS), major: -1, minor: -1}.set(ad)
	return nil
}
