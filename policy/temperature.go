package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Temperature is a temperature of the processor in degrees Celsius, written "85C". The zero Temperature
// is none.
type Temperature float64

// cooled is by how much the processor must be cooler than the limit before jobs run again. Without the
// difference the fans would come and go with the jobs.
const cooled = 10

// UnmarshalText reads a temperature from 30C to 120C.
func (t *Temperature) UnmarshalText(text []byte) error {
	const least, most = 30, 120
	s := strings.TrimSpace(string(text))
	number, ok := strings.CutSuffix(s, "C")
	number = strings.TrimSpace(strings.TrimSuffix(number, "°"))
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(f >= least && f <= most) {
		return fmt.Errorf(`%q is not a temperature from %dC to %dC: write one like "85C"`, s, least, most)
	}
	*t = Temperature(f)
	return nil
}

// MarshalText writes the temperature as String does.
func (t Temperature) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func (t Temperature) String() string { return strconv.FormatFloat(float64(t), 'f', -1, 64) + "C" }

// rule keeps jobs from running on a hot processor. What cannot be read is too hot.
func (t Temperature) rule() rule {
	if t == 0 {
		return rule{}
	}
	return rule{
		may:  fmt.Sprintf("Temperature < %s", number(float64(t)-cooled)),
		stop: fmt.Sprintf("(Temperature >= %s) =!= false", number(float64(t))),
	}
}
