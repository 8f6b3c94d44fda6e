package trust

import (
	"errors"
	"os"
	"path/filepath"
)

// replaceFile puts data at path so that after a crash either the old or the new content is there.
// os.Rename replaces an existing file on Windows too.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
