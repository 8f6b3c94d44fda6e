package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skua/policy/classad"
)

func systemFacts(_ context.Context, cfg FactsConfig, ad *classad.Ad) error {
	b, err := os.ReadFile(filepath.Join(cfg.Etc, "os-release"))
	o := parseOSRelease(string(b))
	var name unix.Utsname
	if unameErr := unix.Uname(&name); unameErr == nil {
		o.kernel = unix.ByteSliceToString(name.Release[:])
	}
	o.set(ad)
	if err != nil {
		return fmt.Errorf("read the system's name: %w", err)
	}
	return nil
}
