package trust

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"skua/internal/diag"
)

// poolKeys are the files of a trust directory that all matchmakers of a pool have in common, the authority's
// certificate last: it is what makes a directory complete.
var poolKeys = []string{"ca.key", "capability.key", "master.key", "ca.pem"}

const (
	keysBlock   = "SKUA POOL KEY"
	keysHeader  = "File"
	maxPoolKeys = 64 << 10
)

// OpenKeys opens the authority and the keys in a trust directory, and makes those that are not there.
func OpenKeys(dir string) (*Authority, *CapabilityKey, *MasterKey, error) {
	a, err := OpenAuthority(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := OpenCapabilityKey(filepath.Join(dir, "capability.key"))
	if err != nil {
		return nil, nil, nil, err
	}
	m, err := OpenMasterKey(filepath.Join(dir, "master.key"))
	return a, c, m, err
}

// ExportKeys gives the keys in a trust directory as text for [ImportKeys]. Whoever has it is the pool's matchmaker.
func ExportKeys(dir string) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); errors.Is(err, fs.ErrNotExist) {
		return nil, &diag.Problem{What: fmt.Sprintf("there are no keys in %s yet", dir), Hint: "start the first matchmaker once; it makes them", Err: err}
	}
	if _, _, _, err := OpenKeys(dir); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, name := range poolKeys {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("export keys: %w", err)
		}
		if err := pem.Encode(&out, &pem.Block{Type: keysBlock, Headers: map[string]string{keysHeader: name}, Bytes: data}); err != nil {
			return nil, fmt.Errorf("export keys: %w", err)
		}
	}
	return out.Bytes(), nil
}

// ImportKeys puts exported keys into a trust directory, which must have none, or the same.
func ImportKeys(dir string, text []byte) error {
	keys, err := parseKeys(text)
	if err != nil {
		return &diag.Problem{What: err.Error(), Hint: `give it what "skua-matchmaker keys export" has written on the first matchmaker`, Err: err}
	}
	for name, data := range keys {
		here, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && !bytes.Equal(here, data) {
			return &diag.Problem{
				What: fmt.Sprintf("%s is there already, and is another one", filepath.Join(dir, name)),
				Hint: fmt.Sprintf("if this matchmaker is to be part of the other pool, stop it and move %s away", dir),
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("import keys: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("import keys: %w", err)
	}
	for _, name := range poolKeys {
		if err := createSecret(filepath.Join(dir, name), keys[name]); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("import keys: %w", err)
		}
	}
	_, _, _, err = OpenKeys(dir)
	return err
}

// parseKeys gives the content of each of poolKeys.
func parseKeys(text []byte) (map[string][]byte, error) {
	if len(text) > maxPoolKeys {
		return nil, errors.New("this is too long to be the keys of a pool")
	}
	keys := map[string][]byte{}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		name := block.Headers[keysHeader]
		if block.Type != keysBlock || !slices.Contains(poolKeys, name) || keys[name] != nil || len(block.Bytes) == 0 {
			return nil, errors.New("there is something else among the keys")
		}
		keys[name], text = block.Bytes, rest
	}
	if len(keys) != len(poolKeys) {
		return nil, fmt.Errorf("these are not the keys of a pool, or not all: %d of %d", len(keys), len(poolKeys))
	}
	return keys, nil
}
