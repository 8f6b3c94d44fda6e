package submitfile

import (
	"errors"
	"strings"

	"skua/internal/diag"
	"skua/internal/job"
)

// runtime is the archive with the programs and libraries that the job sees instead of the machine's, if it brings any.
func (p *proc) runtime() (value, error) { return p.get("runtime_root", strings.ToLower(attrRuntime)) }

const attrRuntime = "RuntimeRoot"

// buildRuntime sets the archive, which is sent beside the job's inputs.
func buildRuntime(p *proc) error {
	v, err := p.runtime()
	if err != nil || !v.set() {
		return err
	}
	if err := p.checkQuotes(v); err != nil {
		return err
	}
	t, err := p.transfers()
	if err != nil {
		return err
	}
	if t.should == "NO" {
		return problem(v.at, "leave should_transfer_files out", "%s = %s would have to be sent, and should_transfer_files = NO", v.name, clip(v.text))
	}
	if name, ok := strings.CutPrefix(v.text, job.PoolRuntime); ok {
		return p.poolRuntime(v, name)
	}
	full, err := p.fromIwd(v.text)
	if err != nil {
		return err
	}
	if p.e.d.opts.Stat != nil {
		switch f := p.e.stat(full); {
		case f.err != nil:
			if err := p.e.d.refuse(v.at, "names are relative to initialdir, or else to the directory where you submit", "%s = %s: %w", v.name, clip(v.text), cause(f.err)); err != nil {
				return err
			}
		case !f.info.Mode().IsRegular():
			return problem(v.at, "make an archive of it with tar", "%s = %s is no file", v.name, clip(v.text))
		}
	}
	p.setString(attrRuntime, full)
	return nil
}

// poolRuntime sets a runtime root that the pool has under a name. Whether it does, only the pool knows.
func (p *proc) poolRuntime(v value, name string) error {
	if err := job.CheckRuntimeName(name); err != nil {
		hint := "a file of that name is written ./" + clip(v.text)
		if inner, ok := errors.AsType[*diag.Problem](err); ok {
			hint = inner.Hint + "; " + hint
		}
		return problem(v.at, hint, "%s = %s: %w", v.name, clip(v.text), err)
	}
	if _, known := p.e.runtimes[name]; !known {
		p.e.runtimes[name] = v.at.String() + ": " + v.name + " = " + clip(v.text)
	}
	p.setString(attrRuntime, v.text)
	return nil
}

// runtimeClauses require a machine that lets jobs bring their own programs and libraries.
func (p *proc) runtimeClauses(_ value, mentioned map[string]bool) ([]string, error) {
	v, err := p.runtime()
	if err != nil || !v.set() || mentioned["hasruntimeroots"] {
		return nil, err
	}
	return []string{"TARGET.HasRuntimeRoots"}, nil
}
