package desktest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"skua/agent/probe"
	"skua/agent/x11"
)

// X11 starts an X server, on which keys are pressed by its XTEST extension.
func X11(ctx context.Context) (*Desk, error) {
	path, err := found("Xvfb")
	if err != nil {
		return nil, err
	}
	d := &Desk{}
	if err := d.startX11(ctx, path); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Desk) startX11(ctx context.Context, path string) error {
	name := freeDisplay()
	n, err := x11.ParseDisplay(name)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(path, name, "-displayfd", "3", "-screen", "0", "320x200x8", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	d.atClose(func() { // killed, it leaves these behind
		_ = os.Remove(fmt.Sprint("/tmp/.X11-unix/X", n))
		_ = os.Remove(fmt.Sprintf("/tmp/.X%d-lock", n))
	})
	err = d.start(cmd)
	w.Close()
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(r, 16)).ReadString('\n')
	if err != nil || ":"+strings.TrimSpace(line) != name {
		return fmt.Errorf("display %s: the server says %q: %w", name, line, err)
	}
	x, err := x11.Dial(ctx, "/tmp/.X11-unix", n, nil, nil)
	if err != nil {
		return err
	}
	d.atClose(func() { x.Close() })
	xtest, _, ok, err := x.Extension("XTEST")
	if err != nil || !ok {
		return errors.Join(errors.New("the X server has no XTEST"), err)
	}
	d.Source = name
	d.Watch = probe.WatchConfig{Displays: []string{name}, SkipTTYs: true, SkipDevices: true}
	d.Press = func() error { return press(x, xtest) }
	return nil
}

// press presses and releases a key.
func press(x *x11.Conn, xtest byte) error {
	const fakeInput, keyPress, keyRelease, key = 2, 2, 3, 38
	for _, kind := range []byte{keyPress, keyRelease} {
		body := make([]byte, 32)
		body[0], body[1] = kind, key
		if err := x.Send(xtest, fakeInput, body); err != nil {
			return err
		}
	}
	return nil
}

// freeDisplay is a display that nobody has. Servers that look for one themselves, as two test programs at
// a time do, take each other's sockets in /tmp away.
func freeDisplay() string {
	for n := 12000 + os.Getpid()%1000*10; ; n++ {
		_, socket := os.Stat(fmt.Sprintf("/tmp/.X11-unix/X%d", n))
		_, lock := os.Stat(fmt.Sprintf("/tmp/.X%d-lock", n))
		if socket != nil && lock != nil {
			return fmt.Sprint(":", n)
		}
	}
}
