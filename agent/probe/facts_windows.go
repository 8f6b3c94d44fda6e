package probe

import (
	"context"
	"fmt"

	"golang.org/x/sys/windows"

	"skua/policy/classad"
)

func systemFacts(_ context.Context, _ FactsConfig, ad *classad.Ad) error {
	v := windows.RtlGetVersion()
	o := opSys{
		family: "WINDOWS", name: "WINDOWS",
		major: int(v.MajorVersion), minor: int(v.MinorVersion),
		kernel: fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber),
	}
	o.long = "Windows " + o.kernel
	o.set(ad)
	// Unlike Linux distributions, Windows is known by both parts of its version: WINDOWS601 is 7.
	ad.SetString("OpSysAndVer", fmt.Sprintf("WINDOWS%d", o.major*100+o.minor))
	return nil
}
