//go:build !linux

package probe

import "context"

func (c *Conditions) followBus(context.Context) {}

func (c *Conditions) readBus(context.Context) {}
