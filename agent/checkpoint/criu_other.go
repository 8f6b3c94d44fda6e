//go:build !linux

package checkpoint

import (
	"context"
	"errors"
)

// Dump is not possible on this system.
func Dump(context.Context, Options) (Stats, error) { return Stats{}, errors.ErrUnsupported }

// Restore is not possible on this system.
func Restore(context.Context, Options) (pid int, err error) { return 0, errors.ErrUnsupported }
