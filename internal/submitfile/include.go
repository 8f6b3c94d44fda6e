package submitfile

import (
	"errors"
	"fmt"
	"strings"
)

// include reads another file, or the output of a command, as if it stood here.
func (p *parser) include(rest string, at pos) error {
	kind, name, ok := strings.Cut(rest, ":")
	if !ok {
		return problem(at, "write \"include : file\"", "include without a \":\"")
	}
	x := p.expander(at)
	name, err := x.expand(strings.TrimSpace(name))
	if err != nil {
		return err
	}
	name = strings.TrimSpace(name)
	if p.depth++; p.depth > maxInclude {
		return problem(at, "", "files that include each other, more than %d deep", maxInclude)
	}
	defer func() { p.depth-- }()
	in, err := includes(kind, at)
	if err != nil {
		return err
	}
	if line, isCommand := strings.CutSuffix(name, "|"); isCommand {
		name, in.command = strings.TrimSpace(line), true
	}
	text, err := p.included(in, name, at)
	if text == nil || err != nil {
		return err
	}
	s, err := newSource(name, text)
	if err != nil {
		return err
	}
	outer := p.file0
	p.file0 = len(p.ifs)
	if err := p.file(s); err != nil {
		return err
	}
	if len(p.ifs) > p.file0 {
		return problem(p.ifs[p.file0].at, "close it with a line \"endif\" in the same file", "this \"if\" has no \"endif\"")
	}
	p.file0 = outer
	return nil
}

// inclusion is what stands between "include" and the colon.
type inclusion struct {
	optional bool
	command  bool
	into     string // file that keeps what the command wrote
}

func includes(kind string, at pos) (in inclusion, err error) {
	words := strings.Fields(kind)
	for i := 0; i < len(words); i++ {
		switch strings.ToLower(words[i]) {
		case "ifexist", "ifexists":
			in.optional = true
		case "command", "output":
			in.command = true
		case "into":
			if i++; i == len(words) || !in.command {
				return in, problem(at, "write \"include command into FILE : COMMAND\"", "include: a file's name must follow the word into")
			}
			in.into = words[i]
		default:
			return in, problem(at, "", "include %s: only ifexist, command and into FILE may stand before the \":\"", clip(words[i]))
		}
	}
	return in, nil
}

// included reads what is to be included. It is nil if there is nothing and need not be.
func (p *parser) included(in inclusion, name string, at pos) ([]byte, error) {
	exists := func(name string) bool {
		if p.d.opts.Stat == nil {
			return false
		}
		_, err := p.d.opts.Stat(p.d.path(name))
		return err == nil
	}
	switch {
	case in.command && in.into != "" && exists(in.into):
		return p.d.readFile(in.into, at)
	case in.command:
		text, err := p.d.run(name, at)
		if err != nil || in.into == "" {
			return text, err
		}
		if p.d.opts.WriteFile == nil {
			p.d.note(at, fmt.Sprintf("what the command writes is not kept in %s, so it runs each time", in.into))
			return text, nil
		}
		if err := p.d.opts.WriteFile(p.d.path(in.into), text); err != nil {
			return nil, problem(at, "", "keep what the command wrote in %s: %w", in.into, cause(err))
		}
		return text, nil
	case in.optional && p.d.opts.Stat != nil && !exists(name):
		return nil, nil
	case p.isDir(name):
		return nil, p.d.refuse(at, "", "%s is a directory", name)
	}
	return p.d.readFile(name, at)
}

func (p *parser) isDir(name string) bool {
	if p.d.opts.Stat == nil {
		return false
	}
	info, err := p.d.opts.Stat(p.d.path(name))
	return err == nil && info.IsDir()
}

func (d *Description) readFile(name string, at pos) ([]byte, error) {
	if d.opts.ReadFile == nil {
		return nil, problem(at, "", "%s: reading other files is not possible here", name)
	}
	text, err := d.opts.ReadFile(d.path(name))
	if err != nil {
		return nil, problem(at, "names are relative to the directory where you submit", "cannot read %s: %w", name, cause(err))
	}
	if len(text) > MaxFileSize {
		return nil, problem(at, "", "%s has %d bytes; at most %d are read", name, len(text), MaxFileSize)
	}
	return text, nil
}

func (d *Description) run(line string, at pos) ([]byte, error) {
	if line == "" {
		return nil, problem(at, "", "there is no command before the |")
	}
	if d.opts.Command == nil {
		return nil, problem(at, "allow it with --allow-commands, or run the command yourself and name the file it wrote",
			"the description runs a command, %q, which must be allowed", clip(line))
	}
	out, err := d.opts.Command(line)
	if err != nil {
		// HTCondor takes what it wrote, unless there is no such command.
		const noCommand = 127 // the shell's exit code then
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) || exit.ExitCode() == noCommand {
			return nil, problem(at, "", "the command %q: %w", clip(line), err)
		}
		if err := d.refuse(at, "", "the command %q: %w", clip(line), err); err != nil {
			return nil, err
		}
		if out == nil {
			out = []byte{}
		}
	}
	if len(out) > MaxFileSize {
		return nil, problem(at, "", "the command %q wrote %d bytes; at most %d are read", clip(line), len(out), MaxFileSize)
	}
	return out, nil
}
