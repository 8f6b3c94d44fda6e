//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"skua/internal/pause"
)

// desk is one machine of the pool.
type desk struct {
	c       *campus
	name    string
	display string
	log     string // path of the agent's log
}

// startDisplay starts the desk's X server on a display number that no other server of this machine has,
// in whatever namespace that may be: they all meet in one /tmp.
func (d *desk) startDisplay(ctx context.Context) error {
	const socket = "/tmp/.X11-unix/X%d"
	number := 100 + os.Getpid()%1000
	for taken := true; taken; {
		number++
		_, err := os.Stat(fmt.Sprintf(socket, number))
		taken = err == nil
	}
	d.display = fmt.Sprint(":", number)
	p, err := d.c.start(d.name, d.name+"-display", "Xvfb", d.display, "-screen", "0", "640x480x24", "-nolisten", "tcp")
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(fmt.Sprintf(socket, number)); err == nil {
			return nil
		}
		if err := p.alive(); err != nil {
			return err
		}
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// startAgent has the desk join the pool and starts its agent. The policy is that of a desktop with its
// minutes made seconds, and without a look at the load, which the desks of the demo share.
func (d *desk) startAgent(ctx context.Context, token string) error {
	dir := filepath.Join(d.c.dir, d.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	policy := fmt.Sprintf(`preset = "desktop"
[owner]
idle_after = "4s"
continue_after = "2s"
background_load = 1000.0
[vacate]
suspend_for = "1s"
max_vacate_time = "1m"
[shared_fs]
mounts = [%q]
`, d.c.journalDir)
	agent := fmt.Sprintf("name = %q\ndir = %q\npolicy = \"policy.toml\"\ndisplays = [%q]\nttys = false\nlog = \"debug\"\n",
		d.name, filepath.Join(dir, "state"), d.display)
	for name, text := range map[string]string{"policy.toml": policy, "agent.toml": agent} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	config := filepath.Join(dir, "agent.toml")
	if _, err := d.c.run(ctx, d.name, "", d.c.tool("skua-agent"), "--config", config, "join", token); err != nil {
		return err
	}
	d.log = filepath.Join(d.c.dir, d.name+".log")
	_, err := d.c.start(d.name, d.name, d.c.tool("skua-agent"), "--config", config, "run")
	return err
}

// logged gives the first line of the agent's log with that text, and its time.
func (d *desk) logged(text string) (string, time.Time) {
	data, err := os.ReadFile(d.log)
	if err != nil {
		return "", time.Time{}
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, text) {
			at, _ := time.Parse(time.RFC3339Nano, field(line, "time"))
			return line, at
		}
	}
	return "", time.Time{}
}

// field reads key=value from a log line.
func field(line, key string) string {
	_, rest, _ := strings.Cut(" "+line, " "+key+"=")
	value, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return value
}

// pressKey presses and releases one key on the desk's display.
func (d *desk) pressKey(ctx context.Context) error { return d.xdotool(ctx, "key", "a") }

// type_ keeps typing until ctx ends.
func (d *desk) type_(ctx context.Context) error {
	for {
		if err := d.xdotool(ctx, "type", "--delay", "80", "dear colleagues, "); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (d *desk) xdotool(ctx context.Context, args ...string) error {
	cmd := d.c.command(ctx, d.name, "xdotool", args...)
	cmd.Env = append(cmd.Env, "DISPLAY="+d.display)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("xdotool: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
