//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// makeNetwork gives the matchmaker and every desk a network namespace, joined by a bridge in the
// matchmaker's. Nothing of this machine's own network is touched.
func (c *campus) makeNetwork(ctx context.Context) error {
	ip := func(args ...string) error {
		out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	addNamespace := func(name string) error {
		if err := ip("netns", "add", name); err != nil {
			return err
		}
		c.namespaces = append(c.namespaces, name)
		return ip("-n", name, "link", "set", "lo", "up")
	}
	c.head = c.prefix + "head"
	err := addNamespace(c.head)
	for _, args := range [][]string{
		{"-n", c.head, "link", "add", "br0", "type", "bridge"},
		{"-n", c.head, "addr", "add", network + "1/24", "dev", "br0"},
		{"-n", c.head, "link", "set", "br0", "up"},
	} {
		if err == nil {
			err = ip(args...)
		}
	}
	for i := range deskCount {
		name := fmt.Sprint(c.prefix, "desk", i+1)
		if err == nil {
			err = addNamespace(name)
		}
		port := fmt.Sprint("desk", i+1)
		for _, args := range [][]string{
			{"-n", c.head, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name},
			{"-n", c.head, "link", "set", port, "master", "br0", "up"},
			{"-n", name, "addr", "add", fmt.Sprint(network, 11+i, "/24"), "dev", "eth0"},
			{"-n", name, "link", "set", "eth0", "up"},
		} {
			if err == nil {
				err = ip(args...)
			}
		}
	}
	return err
}
