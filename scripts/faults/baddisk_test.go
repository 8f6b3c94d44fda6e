//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"skua/internal/netlab"
)

func TestMain(m *testing.M) {
	maybeKeepDisk()
	os.Exit(m.Run())
}

// A faulty disk fails as it is told and has, once it is mended, what was written on it before.
func TestFaultyDisk(t *testing.T) {
	if err := errors.Join(netlab.Possible(), faultyDisksPossible()); err != nil {
		t.Skip(err)
	}
	d, err := newDisk(filepath.Join(t.TempDir(), "disk"), 8<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	f, err := os.Create(d.path("file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func() error { _, err := f.Write([]byte("text\n")); return err }
	rename := func() error { return os.Rename(d.path("from"), d.path("to")) }
	create := func() error { return os.WriteFile(d.path("new"), nil, 0o600) }
	for _, tt := range []struct {
		mode                        string
		write, sync, rename, create error
	}{
		{modeGood, nil, nil, nil, nil},
		{modeSync, nil, syscall.EIO, nil, nil},
		{modeWrite, syscall.EIO, syscall.EIO, syscall.EIO, syscall.EIO},
		{modeGood, nil, nil, nil, nil},
	} {
		if err := errors.Join(d.fail(modeGood), os.WriteFile(d.path("from"), nil, 0o600), d.fail(tt.mode)); err != nil {
			t.Fatal(err)
		}
		for what, do := range map[string]struct {
			f    func() error
			want error
		}{"write": {write, tt.write}, "sync": {f.Sync, tt.sync}, "rename": {rename, tt.rename}, "create": {create, tt.create}} {
			if err := do.f(); !errors.Is(err, do.want) {
				t.Errorf("mode %s: %s gave %v, want %v", tt.mode, what, err, do.want)
			}
		}
		if err := errors.Join(os.RemoveAll(d.path("new")), os.RemoveAll(d.path("to"))); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(d.path("file")); err != nil || string(got) != "text\ntext\ntext\n" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := d.fill(); err != nil {
		t.Fatal(err)
	}
	more := func() error { return os.WriteFile(d.path("more"), make([]byte, 64<<10), 0o600) }
	if err := more(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk gave %v", err)
	}
	if err := d.free(); err != nil {
		t.Fatal(err)
	}
	if err := more(); err != nil {
		t.Errorf("writing to a disk that has room again gave %v", err)
	}
}
