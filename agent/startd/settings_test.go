package startd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/agent/starter"
	"skua/internal/diag"
	"skua/policy"
)

func TestSettingsRefuses(t *testing.T) {
	for _, tt := range []struct {
		want     string
		settings Settings
	}{
		{"slots = -1", Settings{Slots: -1}},
		{"slots = 5000", Settings{Slots: 5000}},
		{"cache = ", Settings{Cache: 5}},
		{"cache = ", Settings{Cache: -1}},
		{"runtimes = ", Settings{Runtimes: 5}},
		{"uid_base = 1000 ", Settings{UIDBase: 1000}},
		{"uid_base = 4294967295 ", Settings{UIDBase: 1<<32 - 1}},
		{"name = ", Settings{Name: "desk 7"}},
		{"name = ", Settings{Name: "slot1@desk7"}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			tt.settings.Dir = t.TempDir()
			_, err := NewMachine(tt.settings, nil, nil, nil)
			p, ok := errors.AsType[*diag.Problem](err)
			if !ok || !strings.HasPrefix(p.What, tt.want) || p.Hint == "" {
				t.Errorf("error %v, want a problem with %q and a hint", err, tt.want)
			}
		})
	}
	if _, err := NewMachine(Settings{Dir: t.TempDir(), Name: "desk7.example.edu", Slots: 4, Cache: 1e9, UIDBase: 1 << 20}, nil, nil, nil); err != nil {
		t.Error(err)
	}
}

// The programs that count as the owner's are those of no job, whichever slot has it.
func TestJobsAreNobodysPrograms(t *testing.T) {
	for _, s := range []Settings{{Slots: 3}, {Slots: 3, Partitionable: true}, {Slots: 3, UIDBase: 1 << 20}} {
		skip := s.ConditionsConfig().SkipUser
		if skip == nil {
			t.Skip("nobody is left out on this system")
		}
		base := s.UIDBase
		if base == 0 {
			base = starter.DefaultUIDBase
		}
		for uid, want := range map[uint32]bool{base - 1: false, base: true, base + 1<<16 + 1000: true, base + 3<<16 - 1: true, base + 3<<16: false} {
			if got := skip(uid); got != want {
				t.Errorf("with %+v user %d is left out: %v", s, uid, got)
			}
		}
	}
}

// A directory that cannot be made is named, with what to do.
func TestStateCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := NewMachine(Settings{Dir: file}, nil, &policy.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = m.Run(t.Context(), nil)
	if p, ok := errors.AsType[*diag.Problem](err); !ok || !strings.Contains(p.What, file) || !strings.Contains(p.Hint, "dir in agent.toml") {
		t.Errorf("error %v, want a problem that names %s", err, file)
	}
}
