// Package sysbus connects to D-Bus, on which the services of a Linux desktop tell of sessions, idle times, inhibitors
// and the network. Every wait for an answer ends after [Wait].
package sysbus

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// Wait is how long an answer is waited for.
const Wait = 5 * time.Second

// Names that every bus has.
const (
	Driver      = "org.freedesktop.DBus" // the bus itself, and its interface
	Properties  = "org.freedesktop.DBus.Properties"
	OwnerChange = "NameOwnerChanged" // its signal that a service came or left

	driverPath = "/org/freedesktop/DBus"
)

// SystemAddress is where the system's bus is: as configured, as $DBUS_SYSTEM_BUS_ADDRESS says, or where it usually is.
func SystemAddress(configured string) string {
	for _, address := range []string{configured, os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")} {
		if address != "" {
			return address
		}
	}
	return "unix:path=/run/dbus/system_bus_socket"
}

// Dial connects to a bus as the user that this process belongs to. The connection lives on when ctx ends.
func Dial(ctx context.Context, address string, signals dbus.SignalHandler) (*dbus.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	// The connection would end with a context that is given to it.
	conn, err := dbus.Dial(address, dbus.WithSignalHandler(signals))
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Call calls a method of a service that runs; it starts none.
func Call(ctx context.Context, conn *dbus.Conn, name, path, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	return conn.Object(name, dbus.ObjectPath(path)).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

// Subscribe has the signals delivered that match.
func Subscribe(ctx context.Context, conn *dbus.Conn, matches ...[]dbus.MatchOption) error {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	for _, match := range matches {
		if err := conn.AddMatchSignalContext(ctx, match...); err != nil {
			return err
		}
	}
	return nil
}

// OwnerOf matches the [OwnerChange] of a service.
func OwnerOf(name string) []dbus.MatchOption {
	return []dbus.MatchOption{
		dbus.WithMatchSender(Driver), dbus.WithMatchInterface(Driver),
		dbus.WithMatchMember(OwnerChange), dbus.WithMatchArg(0, name),
	}
}

// Owner gives a service's own name on the bus, an error when it is not there.
func Owner(ctx context.Context, conn *dbus.Conn, name string) (owner string, err error) {
	err = Call(ctx, conn, Driver, driverPath, Driver+".GetNameOwner", name).Store(&owner)
	return owner, err
}
