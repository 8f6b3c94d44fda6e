package probe

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

var getSystemPowerStatus = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemPowerStatus")

// systemPowerStatus is Windows' SYSTEM_POWER_STATUS.
type systemPowerStatus struct {
	acLine, battery, percent, saver byte
	lifeTime, fullLifeTime          uint32
}

func systemPower(string) (Power, error) {
	var s systemPowerStatus
	if ok, _, err := getSystemPowerStatus.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return Power{}, fmt.Errorf("read the power status: %w", err)
	}
	return s.power(), nil
}

// power reads the status: 255 stands for unknown, and bit 7 of battery for none.
func (s systemPowerStatus) power() Power {
	const unknown, noBattery = 255, 1 << 7
	var p Power
	switch {
	case s.battery != unknown && s.battery&noBattery != 0:
		p.OnBattery = known(false)
		return p
	case s.acLine != unknown:
		p.OnBattery = known(s.acLine == 0)
	}
	if s.percent <= 100 {
		p.Percent = known(int64(s.percent))
	}
	return p
}
