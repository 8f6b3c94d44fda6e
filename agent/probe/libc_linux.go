package probe

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"skua/policy/classad"
)

// systemLibc is the C library that the system's own programs use. It does not change while they run.
var systemLibc = sync.OnceValues(func() (libc, error) { return libcOf("/bin/sh") })

func libcFacts(_ context.Context, _ FactsConfig, ad *classad.Ad) error {
	l, err := systemLibc()
	if err != nil {
		return fmt.Errorf("find the C library: %w", err)
	}
	if l.name != "" {
		ad.SetString("Libc", l.name)
	}
	if l.version != "" {
		ad.SetString("LibcVersion", l.version)
	}
	return nil
}

// libc is a C library; version is "" when it does not tell, and name when it is an unknown one or none.
type libc struct{ name, version string }

// libcOf tells which C library a program is linked with: the loader that it names belongs to one.
func libcOf(program string) (libc, error) {
	f, err := elf.Open(program)
	if err != nil {
		return libc{}, err
	}
	defer f.Close()
	section := f.Section(".interp")
	if section == nil {
		return libc{}, nil
	}
	const most = 4096
	name, err := io.ReadAll(io.LimitReader(section.Open(), most))
	if err != nil {
		return libc{}, err
	}
	loader := string(bytes.TrimRight(name, "\x00"))
	switch base := filepath.Base(loader); {
	case strings.HasPrefix(base, "ld-musl-"):
		return libc{"musl", muslVersion(loader)}, nil
	case strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld64") || strings.HasPrefix(base, "ld-2"):
		version, err := glibcVersion(loader)
		return libc{"glibc", version}, err
	}
	return libc{}, nil
}

// glibcVersion reads it from the library, which is installed beside its loader.
func glibcVersion(loader string) (string, error) {
	loader, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return "", err
	}
	f, err := elf.Open(filepath.Join(filepath.Dir(loader), "libc.so.6"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	section := f.Section(".rodata")
	const most = 8 << 20
	if section == nil || section.Size > most {
		return "", errors.New("libc.so.6 has no data, or too much")
	}
	data, err := section.Data()
	return parseGlibc(data), err
}

// muslVersion has the loader tell; without a program to load it says who it is, and fails.
func muslVersion(loader string) string {
	const wait = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, loader)
	cmd.Env = []string{}
	out, _ := cmd.CombinedOutput()
	return parseMusl(out)
}
