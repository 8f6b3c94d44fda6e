package probe

import (
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

const sizeofProcessEntry = unsafe.Sizeof(windows.ProcessEntry32{})

// startForeign starts a helper in a session as a service would, whichever session this process is in.
func startForeign(session uint32) (*helper, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inR.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inW.Close())
	}
	defer outW.Close()
	p, err := startAsUser(session, exe, []string{helperName, strconv.FormatInt(DefaultQuiet.Milliseconds(), 10)}, inR, outW)
	if err != nil {
		return nil, errors.Join(err, inW.Close(), outR.Close())
	}
	return &helper{process: p, in: inW, out: outR}, nil
}
