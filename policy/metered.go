package policy

import "fmt"

// Metered says whether jobs are begun, and images of those that run are sent, while the machine's network costs by the
// byte. Jobs that run go on: what they compute costs nothing.
type Metered string

// What a policy can say of a network that costs.
const (
	MeteredNever  Metered = "never"  // a network of which nobody knows whether it costs does
	MeteredAlways Metered = "always" // whatever it costs
)

// UnmarshalText reads "never" or "always".
func (m *Metered) UnmarshalText(text []byte) error {
	switch v := Metered(text); v {
	case MeteredNever, MeteredAlways:
		*m = v
		return nil
	}
	return fmt.Errorf(`%q is not a rule for a network that costs: write "never" or "always"`, text)
}
