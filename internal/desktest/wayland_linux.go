package desktest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"skua/agent/wayland"
)

// Wayland starts a compositor without a screen, as a user who is logged in without logind. Its pointer is pushed
// by a protocol of its own, so that the time of no program's start is in what is measured.
func Wayland(ctx context.Context) (*Desk, error) {
	path, err := found("sway")
	if err != nil {
		return nil, err
	}
	d := &Desk{}
	if err := d.startSway(ctx, path); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Desk) startSway(ctx context.Context, path string) error {
	p, err := d.newPerson(stranger())
	if err != nil {
		return err
	}
	config := filepath.Join(p.runUser, "sway.conf")
	if err := os.WriteFile(config, []byte("xwayland disable\n"), 0o644); err != nil {
		return err
	}
	cmd := p.command(path, "-c", config)
	cmd.Env = append(cmd.Env, "WLR_BACKENDS=headless", "WLR_RENDERER=pixman", "WLR_LIBINPUT_NO_DEVICES=1")
	if err := d.start(cmd); err != nil {
		return err
	}
	var c *wayland.Conn
	err = await(ctx, "the compositor does not answer", func() bool {
		sockets, _ := filepath.Glob(filepath.Join(p.dir, "wayland-*")) // the pattern is well formed
		for _, s := range sockets {
			if strings.HasSuffix(s, ".lock") {
				continue
			}
			if c, err = wayland.Dial(ctx, s); err == nil {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	d.atClose(func() { c.Close() })
	push, err := virtualPointer(c)
	if err != nil {
		return err
	}
	d.Source, d.Watch, d.Press, d.RuntimeDir = p.source(), p.watch(), push, p.dir
	return nil
}

// virtualPointer has a compositor take what push does for a pointer's motion.
func virtualPointer(c *wayland.Conn) (push func() error, err error) {
	const create, motion, frame = 0, 0, 4 // requests
	managers, seats := c.Offers("zwlr_virtual_pointer_manager_v1"), c.Offers("wl_seat")
	if len(managers) == 0 || len(seats) == 0 {
		return nil, errors.New("the compositor lets nobody push its pointer")
	}
	manager, err := c.Bind(managers[0], 1)
	if err != nil {
		return nil, err
	}
	seat, err := c.Bind(seats[0], 1)
	if err != nil {
		return nil, err
	}
	pointer := c.NewID()
	if err := c.Request(manager, create, seat, pointer); err != nil {
		return nil, err
	}
	go func() { // what the compositor says is of no interest, but must not fill its buffer; ends with the connection
		for {
			if _, _, _, err := c.Next(); err != nil {
				return
			}
		}
	}()
	began, step := time.Now(), int32(1)
	return func() error {
		const fixed = 256 // one, in Wayland's fixed point
		step = -step      // to and fro
		ms := uint32(time.Since(began).Milliseconds())
		return errors.Join(c.Request(pointer, motion, ms, uint32(5*fixed*step), 0), c.Request(pointer, frame))
	}, nil
}
