//go:build !faults || !linux

package bus

import "github.com/nats-io/nats.go"

// disturbed is where a build for fault tests has messages come twice, late or out of order.
func disturbed(deliver nats.MsgHandler) nats.MsgHandler { return deliver }
