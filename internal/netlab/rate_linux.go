package netlab

import (
	"context"
	"fmt"
)

// Rate lets a machine's cable carry no more than so many bits a second, in each direction. What comes faster waits in
// a queue of a tenth of a second, and is dropped beyond that.
func (l *Lab) Rate(ctx context.Context, machine string, bits int64) error {
	for _, end := range []struct{ namespace, device string }{
		{l.Namespace("head"), machine},
		{l.Namespace(machine), "eth0"},
	} {
		err := all(ctx, []string{
			"tc", "-n", end.namespace, "qdisc", "replace", "dev", end.device, "root",
			"tbf", "rate", fmt.Sprintf("%dbit", bits), "burst", "128kb", "latency", "100ms",
		})
		if err != nil {
			return err
		}
	}
	return nil
}
