package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"skua/internal/blob"
	"skua/matchmaker/files"
)

func TestTreesContainTheirChunksOnly(t *testing.T) {
	store, err := blob.OpenStore(blob.StoreConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	local, key := blob.Local{Store: store}, blob.NewKey()
	var manifests, chunks []blob.Digest
	for i := range 2 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), randomBytes(byte(i), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := blob.Pack(t.Context(), blob.PackConfig{Dir: dir, Key: key, Sink: local})
		if err != nil {
			t.Fatal(err)
		}
		d, err := blob.SaveManifest(t.Context(), local, key, m)
		if err != nil {
			t.Fatal(err)
		}
		manifests, chunks = append(manifests, d), append(chunks, m.Chunks[0].Digest)
	}
	trees := files.NewTrees(store)
	for round := range 2 { // read, then remembered
		for i, m := range manifests {
			for j, c := range chunks {
				if has, err := trees.Contains(t.Context(), m, key, c); err != nil || has != (i == j) {
					t.Errorf("round %d: tree %d contains chunk %d: %t, %v", round, i, j, has, err)
				}
			}
		}
	}
	if _, err := files.NewTrees(store).Contains(t.Context(), manifests[0], blob.NewKey(), chunks[0]); !errors.Is(err, blob.ErrSealed) {
		t.Errorf("Contains with another key = %v, want ErrSealed", err)
	}
	if _, err := trees.Contains(t.Context(), chunks[0], key, chunks[0]); err == nil {
		t.Error("a chunk passed for a manifest")
	}
}
