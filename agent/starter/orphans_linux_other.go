//go:build linux && !amd64 && !arm64

package starter

import "errors"

type registers struct{}

func getRegisters(int, *registers) error { return errors.ErrUnsupported }
func setRegisters(int, *registers) error { return errors.ErrUnsupported }

func setPrctl(*registers, uintptr, uintptr) (pc uintptr, code []byte, err error) {
	return 0, nil, errors.ErrUnsupported
}

func syscallResult(*registers) int64 { return 0 }
