package desktest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/godbus/dbus/v5"
)

const (
	remoteName    = "org.gnome.Mutter.RemoteDesktop"
	remotePath    = "/org/gnome/Mutter/RemoteDesktop"
	remoteSession = remoteName + ".Session"
)

// busConfig is that of a session bus that lets in not only its own user but also who presses the keys.
const busConfig = `<busconfig><type>session</type><listen>%s</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`

// Mutter starts GNOME's compositor without a screen, with a session bus. Keys are pressed as by somebody who
// controls the desktop from afar.
func Mutter(ctx context.Context) (*Desk, error) {
	path, err := found("mutter")
	if err != nil {
		return nil, err
	}
	daemon, err := found("dbus-daemon")
	if err != nil {
		return nil, err
	}
	d := &Desk{}
	if err := d.startMutter(ctx, path, daemon); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Desk) startMutter(ctx context.Context, path, daemon string) error {
	const nobody = 65534 // a bus does not start for a user without a name
	p, err := d.newPerson(nobody)
	if err != nil {
		return err
	}
	bus := "unix:path=" + filepath.Join(p.dir, "bus")
	config := filepath.Join(p.runUser, "bus.conf")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(busConfig, bus)), 0o644); err != nil {
		return err
	}
	if err := d.start(p.command(daemon, "--config-file="+config, "--nofork", "--nopidfile")); err != nil {
		return err
	}
	var conn *dbus.Conn
	err = await(ctx, "the session bus does not answer", func() bool {
		conn, err = dbus.Connect(bus)
		return err == nil
	})
	if err != nil {
		return err
	}
	d.atClose(func() { conn.Close() })
	cmd := p.command(path, "--headless", "--wayland", "--no-x11", "--virtual-monitor", "640x480")
	cmd.Env = append(cmd.Env, "GSETTINGS_BACKEND=memory", "LIBGL_ALWAYS_SOFTWARE=1")
	if err := d.start(cmd); err != nil {
		return err
	}
	var session dbus.ObjectPath
	err = await(ctx, "the compositor is not on its bus", func() bool {
		return conn.Object(remoteName, remotePath).CallWithContext(ctx, remoteName+".CreateSession", 0).Store(&session) == nil
	})
	if err != nil {
		return err
	}
	remote := conn.Object(remoteName, session)
	if err := remote.CallWithContext(ctx, remoteSession+".Start", 0).Err; err != nil {
		return fmt.Errorf("control the desktop: %w", err)
	}
	d.Source, d.Watch = p.source(), p.watch()
	d.Press = func() error {
		const key = uint32(30) // of evdev
		for _, down := range []bool{true, false} {
			if err := remote.Call(remoteSession+".NotifyKeyboardKeycode", 0, key, down).Err; err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}
