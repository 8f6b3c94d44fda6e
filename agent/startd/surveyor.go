package startd

import (
	"context"
	"os"
	"path/filepath"

	"skua/agent/probe"
	"skua/agent/starter"
	"skua/internal/diag"
)

// conditions says where the machine's conditions are looked for.
func (m *Machine) conditions() probe.ConditionsConfig {
	cfg := m.settings.ConditionsConfig()
	cfg.Log = m.log
	return cfg
}

// ConditionsConfig says what changes about the machine that an agent looks at.
func (s Settings) ConditionsConfig() probe.ConditionsConfig {
	ids := uint32(s.atATime()) << 16 // that the jobs of all slots have
	base := s.UIDBase
	if base == 0 {
		base = starter.DefaultUIDBase
	}
	watch := s.WatchConfig()
	watch.SkipDisplays = watch.SkipDisplays || s.Owner != nil && !*s.Owner
	return probe.ConditionsConfig{ExecuteDir: s.executeDir(), SkipUser: probe.OthersThan(base, ids), Watch: watch}
}

// executeDir is where jobs run, or will, as far as it is there and may be seen.
func (s Settings) executeDir() string {
	dir := claimsDir(s.Dir)
	for {
		above := filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil || above == dir {
			return dir
		}
		dir = above
	}
}

// probes are those of the settings, nil if there are none.
func (m *Machine) probes() Probes {
	scripts := m.settings.scripts()
	if len(scripts) == 0 {
		return nil
	}
	return probe.NewScripts(scripts, ownAttribute(m.Policy()), m.log)
}

func (m *Machine) figuresFile() string { return filepath.Join(m.settings.Dir, "figures.json") }

// measure gives what finds out how fast the machine is, nil if that is known from an earlier start.
func (m *Machine) measure() func(context.Context) {
	if m.figures.Load() != nil {
		return nil
	}
	return func(context.Context) {
		f := probe.Measure()
		m.figures.Store(&f)
		m.log.Info("this machine's speed was measured", "mips", f.Mips, "kflops", f.KFlops)
		if err := probe.SaveFigures(m.figuresFile(), f); err != nil {
			m.log.Warn("it will be measured again at the next start", diag.KeyError, err)
		}
	}
}
