package submitfile

import (
	"path/filepath"
	"slices"
)

// stat looks at a file once for all jobs.
func (e *expansion) stat(name string) fileFacts {
	if f, ok := e.files[name]; ok {
		return f
	}
	var f fileFacts
	f.info, f.err = e.d.opts.Stat(name)
	if f.err == nil {
		left := 10_000 // files of a directory that are counted
		f.kb = (e.bytes(name, &left) + 1023) / 1024
	}
	const most = 100_000 // remembered
	if len(e.files) < most {
		e.files[name] = f
	}
	return f
}

// bytes is the size of a file or of everything in a directory.
func (e *expansion) bytes(name string, left *int) int64 {
	info, err := e.d.opts.Stat(name)
	if *left--; err != nil || *left < 0 {
		return 0
	}
	if !info.IsDir() {
		return info.Size()
	}
	if e.d.opts.Glob == nil {
		return 0
	}
	var sum int64
	inside, _ := e.d.opts.Glob(filepath.Join(name, "*"))
	for _, n := range inside {
		sum += e.bytes(n, left)
	}
	return sum
}

// buildSizes sets how much the job brings with it.
func buildSizes(p *proc) error {
	if p.e.d.opts.Stat == nil {
		return p.givenSizes(0, 0)
	}
	exe, send, err := p.executable()
	if err != nil {
		return err
	}
	exeKB := int64(0)
	if exe.set() {
		name := p.e.d.path(exe.text)
		if !send {
			if name, err = p.inIwd(exe.text); err != nil {
				return err
			}
		}
		exeKB = p.e.stat(name).kb
	}
	t, err := p.transfers()
	if err != nil {
		return err
	}
	stdin, err := p.stdin()
	if err != nil {
		return err
	}
	var inputKB int64
	for _, name := range append(slices.Clone(t.inFiles), stdin.text) {
		if name == "" || urlScheme(name) != "" {
			continue
		}
		full, err := p.fromIwd(name)
		if err != nil {
			return err
		}
		inputKB += p.e.stat(full).kb
	}
	return p.givenSizes(exeKB, inputKB)
}

func (p *proc) givenSizes(exeKB, inputKB int64) error {
	p.setInt("ExecutableSize", exeKB)
	if usage, err := p.get("disk_usage", "DiskUsage"); err != nil {
		return err
	} else if !usage.set() {
		p.setInt("TransferInputSizeMB", (exeKB+inputKB)/1024)
	}
	for _, s := range []struct {
		attr, command string
		kb            int64
	}{{"ImageSize", "image_size", exeKB}, {"DiskUsage", "disk_usage", exeKB + inputKB}} {
		v, err := p.get(s.command, s.attr)
		if err != nil {
			return err
		}
		if v.set() {
			n, ok := parseSize(v.text, 1<<10)
			if !ok || n < 1 {
				return problem(v.at, "for example 200MB", "%s = %s is not a size", v.name, clip(v.text))
			}
			s.kb = n
		}
		p.setInt(s.attr, s.kb)
	}
	return nil
}
