package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
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
	return winio.ListenPipe(path, &winio.PipeConfig{
		SecurityDescriptor: fmt.Sprintf("D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)(A;;%#x;;;AU)", uint32(pipeAccess)),
	})
}

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
