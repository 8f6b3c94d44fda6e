package client

import (
	"errors"
	"sync"
	"testing"

	"skua/internal/diag"
)

func TestHostIDIsOne(t *testing.T) {
	h := Home(t.TempDir())
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, err := h.HostID()
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("eight who ask at once hear %q, want one name", ids)
			break
		}
	}
}

func TestNoPool(t *testing.T) {
	home := t.TempDir()
	t.Setenv("SKUA_HOME", home)
	_, err := Connect(t.Context(), Connection{Home: Home(home)})
	var p *diag.Problem
	if !errors.As(err, &p) || p.Hint == "" || diag.ExitCode(err) != diag.ExitUnreachable {
		t.Errorf("error is %v with exit code %d, want a problem with a hint and %d", err, diag.ExitCode(err), diag.ExitUnreachable)
	}
}
