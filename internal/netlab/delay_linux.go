package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Delay has every packet on a machine's cable take longer, by so much in each direction. The kernel's own way to do
// that, netem, is missing in many kernels; so the cable is cut in two, and the ends are joined by a relay that
// keeps each packet for as long.
func (l *Lab) Delay(ctx context.Context, machine string, oneWay time.Duration) error {
	head := l.Namespace("head")
	near, far := "near-"+machine, "far-"+machine // from the head
	err := all(ctx,
		[]string{"ip", "-n", head, "link", "add", near, "type", "veth", "peer", "name", far},
		[]string{"ip", "-n", head, "link", "set", far, "up"},
		[]string{"ip", "-n", head, "link", "set", near, "master", "br0", "up"},
		[]string{"ip", "-n", head, "link", "set", machine, "nomaster"},
	)
	if err != nil {
		return err
	}
	r, err := newRelay(filepath.Join("/run/netns", head), machine, far, oneWay)
	if err != nil {
		return fmt.Errorf("delay %s: %w", machine, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow[machine] = r
	return nil
}

// Undelay ends what Delay began. What is on its way gets lost.
func (l *Lab) Undelay(ctx context.Context, machine string) error {
	l.mu.Lock()
	r := l.slow[machine]
	delete(l.slow, machine)
	l.mu.Unlock()
	head := l.Namespace("head")
	err := all(ctx,
		[]string{"ip", "-n", head, "link", "set", machine, "master", "br0"},
		[]string{"ip", "-n", head, "link", "delete", "near-" + machine},
	)
	if r != nil {
		err = errors.Join(err, r.close())
	}
	return err
}

// relay passes packets on between two network devices, each way in order.
type relay struct {
	ends    [2]*os.File
	running sync.WaitGroup
}

// newRelay starts a relay between devices of a network namespace.
func newRelay(namespace, a, b string, oneWay time.Duration) (*relay, error) {
	r := &relay{}
	for i, device := range []string{a, b} {
		fd, err := packetSocket(namespace, device)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.ends[i] = os.NewFile(uintptr(fd), device)
	}
	r.pass(r.ends[0], r.ends[1], oneWay)
	r.pass(r.ends[1], r.ends[0], oneWay)
	return r, nil
}

// Bounds of what is on its way in one direction.
const (
	maxPacket  = 10 + 64<<10 + 64 // with the header that says how it is to be cut and summed
	maxWaiting = 4096             // packets; beyond that they get lost, as in any queue
)

// pass passes on what comes from one end.
func (r *relay) pass(from, to *os.File, oneWay time.Duration) {
	type packet struct {
		data []byte
		due  time.Time
	}
	waiting := make(chan packet, maxWaiting)
	r.running.Go(func() {
		defer close(waiting)
		buf := make([]byte, maxPacket)
		for {
			n, err := from.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				if errors.Is(err, unix.ENETDOWN) {
					continue // said once, when the device goes
				}
				return
			}
			select {
			case waiting <- packet{append([]byte(nil), buf[:n]...), time.Now().Add(oneWay)}:
			default:
			}
		}
	})
	r.running.Go(func() {
		for p := range waiting {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.data) // a device that does not take it loses it
		}
	})
}

// close ends the relay, when it has let go of what is on its way.
func (r *relay) close() error {
	var errs []error
	for _, end := range r.ends {
		if end != nil {
			errs = append(errs, end.Close())
		}
	}
	r.running.Wait()
	return errors.Join(errs...)
}

// packetSocket opens a socket for all packets that come to a device of a network namespace. Packets have a header in
// front that says what the device would have done for the sender: sums, and pieces.
func packetSocket(namespace, device string) (fd int, err error) {
	err = inNamespace(namespace, func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		link, err := deviceIndex(fd, device)
		for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING} {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1))
		}
		if err == nil {
			const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link})
		}
		if err != nil {
			return errors.Join(fmt.Errorf("packets of %s: %w", device, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// deviceIndex gives the number of a device in the namespace of a socket.
func deviceIndex(fd int, device string) (int, error) {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

// inNamespace calls f in a network namespace, on a thread that ends with it.
func inNamespace(path string, f func() error) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nobody else runs there
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
