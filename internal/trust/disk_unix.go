//go:build !windows

package trust

import (
	"path/filepath"

	"github.com/google/renameio/v2"

	"skua/internal/durable"
)

// replaceFile puts data at path so that after a crash either the old or the new content is there.
func replaceFile(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600, renameio.IgnoreUmask()); err != nil {
		return err
	}
	return durable.Names(filepath.Dir(path))
}
