//go:build !windows

package probe

func systemPower(sys string) (Power, error) { return readPower(sys) }
