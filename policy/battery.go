package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Battery says whether jobs run while the machine is on battery. The zero Battery is always.
//
// It is written "never", "always" or "above 50%".
type Battery struct {
	never bool
	above int // percent; 0 unless jobs run on battery above so much only
}

// BatteryNever has no job run on battery.
var BatteryNever = Battery{never: true}

// recharged is how much more than the limit, in percent, the battery must have before jobs run again.
const recharged = 5

// UnmarshalText reads "never", "always" or "above 50%".
func (b *Battery) UnmarshalText(text []byte) error {
	bad := fmt.Errorf(`%q is not a rule for the battery: write "never", "above 50%%" or "always"`, text)
	switch t := strings.TrimSpace(string(text)); t {
	case "never":
		*b = BatteryNever
	case "always":
		*b = Battery{}
	default:
		number, isAbove := strings.CutPrefix(t, "above ")
		number, isPercent := strings.CutSuffix(strings.TrimSpace(number), "%")
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil || !isAbove || !isPercent || n == 0 || n > 99 {
			return bad
		}
		*b = Battery{above: int(n)}
	}
	return nil
}

// MarshalText writes the rule as String does.
func (b Battery) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Battery) String() string {
	switch {
	case b.never:
		return "never"
	case b.above > 0:
		return fmt.Sprintf("above %d%%", b.above)
	}
	return "always"
}

// stricter is the rule under which jobs run only where both let them.
func (b Battery) stricter(o Battery) Battery {
	if b.never || o.never {
		return BatteryNever
	}
	return Battery{above: max(b.above, o.above)}
}

// rule keeps jobs from running on battery. A machine that says nothing of a battery has none, unless
// mobile says that it must have one; a charge that nobody can tell is none.
func (b Battery) rule(mobile bool) rule {
	plugged, unplugged := "OnBattery =!= true", "OnBattery =?= true"
	if mobile {
		plugged, unplugged = "OnBattery =?= false", "OnBattery =!= false"
	}
	switch {
	case b.never:
		return rule{may: plugged, stop: unplugged}
	case b.above > 0:
		return rule{
			may:  fmt.Sprintf("(%s || (BatteryPercent >= %d) =?= true)", plugged, min(b.above+recharged, 100)),
			stop: fmt.Sprintf("(%s && (BatteryPercent >= %d) =!= true)", unplugged, b.above),
		}
	}
	return rule{}
}
