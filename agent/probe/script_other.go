//go:build !linux

package probe

import (
	"context"
	"errors"
)

// CanRunScripts reports whether this system can.
const CanRunScripts = false

func runScript(context.Context, Script) (printed []byte, stuck <-chan struct{}, err error) {
	return nil, nil, errors.ErrUnsupported
}
