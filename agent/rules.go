package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"skua/agent/startd"
	"skua/internal/central"
	"skua/policy"
	"skua/policy/config"
)

// rules are the policy of this machine, made of what its own file says and what the pool says for its
// group. They implement [startd.Central].
type rules struct {
	configFile string
	store      *central.Store // nil if the machine's owner wants no central policy
	log        *slog.Logger

	mu         sync.Mutex // guards what follows, and is held while a policy is put into force
	machine    *startd.Machine
	local      policy.File // the latest that was good
	badLocal   error       // why a newer one is not in force; nil if it is
	badCentral error       // the same of the pool's
}

// newRules reads the two policies, and gives what they come to. fingerprint is that of the pool's authority.
// A central policy that is no good is left out, and the machine's ads will say so.
func newRules(configFile string, cfg fileConfig, fingerprint string, log *slog.Logger) (*rules, *policy.Policy, error) {
	r := &rules{configFile: configFile, log: log}
	var err error
	if r.local, err = readLocal(cfg.Policy); err != nil {
		return nil, nil, err
	}
	if group, ok := cfg.Follows(); ok {
		r.store, r.badCentral = central.OpenStore(centralDir(cfg), group, fingerprint)
	}
	p, err := r.combined(r.local)
	if err != nil {
		r.badCentral = fmt.Errorf("with the central policy: %w", err)
		p, err = policy.Derive(r.local)
	}
	return r, p, err
}

// centralDir is where the central policy is kept.
func centralDir(cfg fileConfig) string { return filepath.Join(cfg.Dir, "central") }

// readLocal reads the machine's own policy, and checks it. No file says nothing.
func readLocal(path string) (policy.File, error) {
	var f policy.File
	if path != "" {
		if err := config.Load(path, &f); err != nil {
			return f, err
		}
	}
	_, err := policy.Derive(f)
	return f, err
}

// combine makes the policy that follows from a central and a local file.
func combine(central, local policy.File) (*policy.Policy, []policy.Source, error) {
	f, from, err := policy.Combine(central, local)
	if err != nil {
		return nil, nil, err
	}
	p, err := policy.Derive(f)
	return p, from, err
}

// combined is what a local file comes to with the central policy that is in force.
func (r *rules) combined(local policy.File) (*policy.Policy, error) {
	if r.store == nil {
		return policy.Derive(local)
	}
	now, ok := r.store.Current()
	if !ok {
		return policy.Derive(local)
	}
	f, err := now.File()
	if err != nil {
		return nil, err
	}
	p, _, err := combine(f, local)
	return p, err
}

// of has the machine go by the rules from now on.
func (r *rules) of(m *startd.Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machine = m
	if r.store != nil {
		m.Central = r
	}
	r.complain()
}

// reload reads the machine's own policy again, from where the configuration says now. One that is no good
// leaves the old one in force. Everything else in the configuration waits for the next start.
func (r *rules) reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := readConfig(r.configFile)
	var local policy.File
	if err == nil {
		local, err = readLocal(cfg.Policy)
	}
	var p *policy.Policy
	if err == nil {
		p, err = r.combined(local)
	}
	if r.badLocal = err; err != nil {
		r.complain()
		return
	}
	r.local = local
	r.machine.SetPolicy(p)
	r.log.Info("the policy was read again", "file", cfg.Policy, "preset", p.Preset)
	r.complain()
}

// complain says what of the newest policies is not in force.
func (r *rules) complain() {
	switch {
	case r.badLocal != nil && r.badCentral != nil:
		r.machine.RefusePolicy(fmt.Errorf("%w; %w", r.badLocal, r.badCentral))
	case r.badLocal != nil:
		r.machine.RefusePolicy(r.badLocal)
	case r.badCentral != nil:
		r.machine.RefusePolicy(r.badCentral)
	}
}

// Group implements [startd.Central].
func (r *rules) Group() string { return r.store.Group() }

// Standing implements [startd.Central].
func (r *rules) Standing() (central.Policy, bool) { return r.store.Current() }

// Take implements [startd.Central].
func (r *rules) Take(signed []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.badCentral
	changed, err := r.store.Take(signed, func(f policy.File) error {
		_, _, err := combine(f, r.local)
		return err
	})
	r.badCentral = err
	if err != nil {
		r.complain()
		return
	}
	if !changed && before == nil {
		return
	}
	p, err := r.combined(r.local)
	if err != nil { // it was tried above
		r.badCentral = err
		r.complain()
		return
	}
	r.machine.SetPolicy(p)
	if now, ok := r.store.Current(); ok {
		r.log.Info("central policy in force", "group", now.Group, "number", now.Number, "preset", p.Preset)
	} else {
		r.log.Info("no central policy any more", "group", r.store.Group(), "preset", p.Preset)
	}
	r.complain()
}
