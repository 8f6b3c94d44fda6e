package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// pipePrefix is what names of pipes begin with.
const pipePrefix = `\\.\pipe\`

// pipeAccess is to read and write and to wait, and not to make a further instance of the pipe (FILE_APPEND_DATA), at which
// others would speak to somebody else.
const pipeAccess = windows.FILE_GENERIC_READ | windows.FILE_GENERIC_WRITE&^windows.FILE_APPEND_DATA

// Listen makes the pipe. Everybody on this machine may connect, nobody from another; what they may ask for is another
// question. It fails if there is such a pipe already.
func Listen(path string) (net.Listener, error) {
	if !strings.HasPrefix(path, pipePrefix) {
		return nil, fmt.Errorf("%s is no name of a pipe, which begins with %s", path, pipePrefix)
	}
	sd, err := windows.SecurityDescriptorFromString(fmt.Sprintf("D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)(A;;%#x;;;AU)", uint32(pipeAccess)))
	if err != nil {
		return nil, fmt.Errorf("say who may connect to %s: %w", path, err)
	}
	l := &pipeListener{path: path, rights: &windows.SecurityAttributes{SecurityDescriptor: sd}}
	l.rights.Length = uint32(unsafe.Sizeof(*l.rights))
	if l.closing, err = windows.CreateEvent(nil, 1, 0, nil); err != nil {
		return nil, os.NewSyscallError("CreateEvent", err)
	}
	if l.next, err = l.instance(windows.FILE_FLAG_FIRST_PIPE_INSTANCE); err != nil {
		_ = windows.CloseHandle(l.closing)
		return nil, err
	}
	return l, nil
}

// pipeListener waits for clients at one instance of a pipe after the other. The listener of package winio relies on the
// first instance being out of reach of clients, which it is not under Wine.
type pipeListener struct {
	path    string
	rights  *windows.SecurityAttributes
	closing windows.Handle // an event

	accepting sync.Mutex     // guards next
	next      windows.Handle // the instance that nobody has connected to; 0 once closed
	once      sync.Once
}

// instance makes an instance of the pipe.
func (l *pipeListener) instance(flags uint32) (windows.Handle, error) {
	const buffer = 4096 // bytes each way
	name, err := windows.UTF16PtrFromString(l.path)
	if err != nil {
		return 0, err
	}
	h, err := windows.CreateNamedPipe(name, windows.PIPE_ACCESS_DUPLEX|windows.FILE_FLAG_OVERLAPPED|flags,
		windows.PIPE_TYPE_BYTE|windows.PIPE_READMODE_BYTE|windows.PIPE_REJECT_REMOTE_CLIENTS, windows.PIPE_UNLIMITED_INSTANCES, buffer, buffer, 0, l.rights)
	if err != nil {
		return 0, &os.PathError{Op: "listen", Path: l.path, Err: err}
	}
	return h, nil
}

// Accept waits for the next client. There is an instance at any time, so that nobody else can take the name.
func (l *pipeListener) Accept() (net.Conn, error) {
	l.accepting.Lock()
	defer l.accepting.Unlock()
	if err := l.connect(); err != nil {
		return nil, err
	}
	h := l.next
	var err error
	if l.next, err = l.instance(0); err != nil {
		l.next = h
		_ = windows.DisconnectNamedPipe(h)
		return nil, err
	}
	file, err := winio.NewOpenFile(h)
	if err != nil {
		_ = windows.CloseHandle(h)
		return nil, err
	}
	return pipeConn{file.(pipeFile), pipeAddr(l.path)}, nil
}

// connect waits until a client has connected to the next instance. One that has gone again before that was seen is
// forgotten: an error would end the server.
func (l *pipeListener) connect() error {
	if l.next == 0 {
		return net.ErrClosed
	}
	for {
		err := l.awaitClient()
		if !errors.Is(err, windows.ERROR_NO_DATA) && !errors.Is(err, windows.ERROR_BROKEN_PIPE) {
			return err
		}
		if err := windows.DisconnectNamedPipe(l.next); err != nil {
			return os.NewSyscallError("DisconnectNamedPipe", err)
		}
	}
}

// awaitClient waits once for a client of the next instance.
func (l *pipeListener) awaitClient() error {
	connected, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return os.NewSyscallError("CreateEvent", err)
	}
	defer windows.CloseHandle(connected)
	o := &windows.Overlapped{HEvent: connected}
	switch err := windows.ConnectNamedPipe(l.next, o); {
	case err == nil || errors.Is(err, windows.ERROR_PIPE_CONNECTED):
		return nil
	case !errors.Is(err, windows.ERROR_IO_PENDING):
		return os.NewSyscallError("ConnectNamedPipe", err)
	}
	which, err := windows.WaitForMultipleObjects([]windows.Handle{l.closing, connected}, false, windows.INFINITE)
	if err == nil && which == windows.WAIT_OBJECT_0+1 {
		var none uint32
		err = os.NewSyscallError("ConnectNamedPipe", windows.GetOverlappedResult(l.next, o, &none, false))
		return err
	}
	_ = windows.CancelIoEx(l.next, o)
	var none uint32
	_ = windows.GetOverlappedResult(l.next, o, &none, true) // nothing may write to o any more
	_ = windows.CloseHandle(l.next)
	l.next = 0
	if err != nil {
		return os.NewSyscallError("WaitForMultipleObjects", err)
	}
	return net.ErrClosed
}

// Close ends an Accept that waits.
func (l *pipeListener) Close() error {
	l.once.Do(func() {
		_ = windows.SetEvent(l.closing)
		l.accepting.Lock()
		defer l.accepting.Unlock()
		if l.next != 0 {
			_ = windows.CloseHandle(l.next)
			l.next = 0
		}
		_ = windows.CloseHandle(l.closing)
	})
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.path) }

// pipeFile is what winio makes of a handle.
type pipeFile interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Fd() uintptr
}

// pipeConn is the server's end of a connection.
type pipeConn struct {
	pipeFile
	addr pipeAddr
}

func (c pipeConn) LocalAddr() net.Addr  { return c.addr }
func (c pipeConn) RemoteAddr() net.Addr { return c.addr }

// SetDeadline implements [net.Conn].
func (c pipeConn) SetDeadline(at time.Time) error {
	return errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at))
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// dial connects, and lets the other end know who we are but not act as us.
func dial(ctx context.Context, path string) (net.Conn, error) {
	return winio.DialPipeAccessImpLevel(ctx, path, pipeAccess, winio.PipeImpLevelIdentification)
}

var impersonateNamedPipeClient = windows.NewLazySystemDLL("advapi32.dll").NewProc("ImpersonateNamedPipeClient")

// peerOf is who is at the other end of a pipe from which something was read. Administrators, in a process with their
// rights, and the agent's own user may do everything.
func peerOf(c net.Conn) (Peer, error) {
	pipe, ok := c.(interface{ Fd() uintptr })
	if !ok {
		return Peer{}, fmt.Errorf("%T is no pipe", c)
	}
	token, err := clientToken(pipe.Fd())
	if err != nil {
		return Peer{}, err
	}
	defer token.Close()
	user, err := token.GetTokenUser()
	if err != nil {
		return Peer{}, os.NewSyscallError("GetTokenInformation", err)
	}
	p := Peer{Name: user.User.Sid.String()}
	if name, _, _, err := user.User.Sid.LookupAccount(""); err == nil {
		p.Name = name
	}
	var n uint32
	if err := windows.GetTokenInformation(token, windows.TokenSessionId, (*byte)(unsafe.Pointer(&p.Seat)), uint32(unsafe.Sizeof(p.Seat)), &n); err != nil {
		return Peer{}, os.NewSyscallError("GetTokenInformation", err)
	}
	admins, err := windows.CreateWellKnownSid(windows.WinBuiltinAdministratorsSid)
	if err != nil {
		return Peer{}, os.NewSyscallError("CreateWellKnownSid", err)
	}
	if p.Admin, err = token.IsMember(admins); err != nil {
		return Peer{}, os.NewSyscallError("CheckTokenMembership", err)
	}
	if own, err := windows.GetCurrentProcessToken().GetTokenUser(); err == nil {
		p.Admin = p.Admin || user.User.Sid.Equals(own.User.Sid)
	}
	return p, nil
}

// clientToken is that of the process that has written what was last read from a pipe.
func clientToken(pipe uintptr) (token windows.Token, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if ok, _, err := impersonateNamedPipeClient.Call(pipe); ok == 0 {
		return 0, os.NewSyscallError("ImpersonateNamedPipeClient", err)
	}
	err = windows.OpenThreadToken(windows.CurrentThread(), windows.TOKEN_QUERY, true, &token)
	if revertErr := windows.RevertToSelf(); revertErr != nil {
		runtime.LockOSThread() // once more than it is unlocked: nothing else must run in a thread that acts as somebody else
		return 0, errors.Join(os.NewSyscallError("RevertToSelf", revertErr), err)
	}
	if err != nil {
		return 0, os.NewSyscallError("OpenThreadToken", err)
	}
	return token, nil
}
