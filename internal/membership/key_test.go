package membership

import (
	"sync"
	"testing"
)

// Two first commands of one user come at a time: both must end up with the same key.
func TestOwnKeyIsOne(t *testing.T) {
	for range 50 {
		dir := t.TempDir()
		var keys [4]string
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				identity, err := ownKey(dir, keyFile)
				if err != nil {
					t.Error(err)
					return
				}
				keys[i] = identity.PublicKey()
			})
		}
		wg.Wait()
		for _, k := range keys {
			if k != keys[0] || k == "" {
				t.Fatalf("the keys are %q", keys)
			}
		}
	}
}
