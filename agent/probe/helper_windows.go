package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// helperName is what this program is called when it is executed again as a session's helper.
const helperName = "skua-session"

// canHelp is set by [MaybeHelper]: without it, what is executed again as a helper would not know that it is.
var canHelp bool

// MaybeHelper takes over when this process is not what its main believes, but the helper in a user's session,
// and then does not return. A program whose watcher is to have helpers calls it before anything else.
func MaybeHelper() {
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == helperName {
		os.Exit(helperMain())
	}
	canHelp = true
}

// helperMain follows the session's input and says what it sees on its standard output, until its standard input
// ends: that is open as long as the agent is there.
func helperMain() int {
	if len(os.Args) != 2 {
		return 2
	}
	ms, err := strconv.Atoi(os.Args[1])
	if err != nil || ms <= 0 {
		return 2
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	err = followInput(ctx, time.Duration(ms)*time.Millisecond, func(r inputReport) {
		if _, err := io.WriteString(os.Stdout, r.line()); err != nil {
			stop()
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// helper is the agent's end of one.
type helper struct {
	process *os.Process
	in      io.Closer // what keeps it alive
	out     io.ReadCloser
}

// startHelper starts a helper: in the session with the given number, with the rights of its user, or as a plain
// child if that is the session we are in ourselves.
func startHelper(session uint32, quiet time.Duration) (*helper, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := []string{helperName, strconv.FormatInt(max(1, quiet.Milliseconds()), 10)}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inR.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		inW.Close()
		return nil, err
	}
	defer outW.Close()
	var p *os.Process
	if own, ok := ownSession(); ok && own == session {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return nil, errors.Join(err, inW.Close(), outR.Close())
		}
		defer null.Close()
		p, err = os.StartProcess(exe, argv, &os.ProcAttr{
			Env: os.Environ(), Files: []*os.File{inR, outW, null},
			Sys: &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW, HideWindow: true},
		})
		if err != nil {
			return nil, errors.Join(err, inW.Close(), outR.Close())
		}
	} else if p, err = startAsUser(session, exe, argv, inR, outW); err != nil {
		return nil, errors.Join(err, inW.Close(), outR.Close())
	}
	return &helper{process: p, in: inW, out: outR}, nil
}

// startAsUser starts a program on the desktop of a session, with its user's rights and environment. Of our
// handles it gets the two pipes.
func startAsUser(session uint32, exe string, argv []string, in, out *os.File) (*os.Process, error) {
	var user, primary windows.Token
	if err := windows.WTSQueryUserToken(session, &user); err != nil {
		return nil, fmt.Errorf("rights of the user of session %d: %w", session, err)
	}
	defer user.Close()
	if err := windows.DuplicateTokenEx(user, windows.MAXIMUM_ALLOWED, nil, windows.SecurityIdentification, windows.TokenPrimary, &primary); err != nil {
		return nil, os.NewSyscallError("DuplicateTokenEx", err)
	}
	defer primary.Close()
	var env *uint16
	if err := windows.CreateEnvironmentBlock(&env, primary, false); err != nil {
		return nil, os.NewSyscallError("CreateEnvironmentBlock", err)
	}
	defer func() { _ = windows.DestroyEnvironmentBlock(env) }()
	handles := []windows.Handle{windows.Handle(in.Fd()), windows.Handle(out.Fd())}
	for _, h := range handles {
		if err := windows.SetHandleInformation(h, windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT); err != nil {
			return nil, os.NewSyscallError("SetHandleInformation", err)
		}
	}
	list, err := windows.NewProcThreadAttributeList(1)
	if err != nil {
		return nil, err
	}
	defer list.Delete()
	if err := list.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&handles[0]), uintptr(len(handles))*unsafe.Sizeof(handles[0])); err != nil {
		return nil, err
	}
	program, err := windows.UTF16PtrFromString(exe)
	if err != nil {
		return nil, err
	}
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(argv))
	if err != nil {
		return nil, err
	}
	si := windows.StartupInfoEx{ProcThreadAttributeList: list.List()}
	si.Cb = uint32(unsafe.Sizeof(si))
	si.Desktop = windows.StringToUTF16Ptr(`winsta0\default`)
	si.Flags = windows.STARTF_USESTDHANDLES
	si.StdInput, si.StdOutput = handles[0], handles[1]
	var pi windows.ProcessInformation
	const flags = windows.CREATE_UNICODE_ENVIRONMENT | windows.CREATE_NO_WINDOW | windows.EXTENDED_STARTUPINFO_PRESENT
	if err := windows.CreateProcessAsUser(primary, program, line, nil, nil, true, flags, env, nil, &si.StartupInfo, &pi); err != nil {
		return nil, fmt.Errorf("start a helper in session %d: %w", session, err)
	}
	defer windows.CloseHandle(pi.Process)
	_ = windows.CloseHandle(pi.Thread)
	return os.FindProcess(int(pi.ProcessId))
}

// follow hands out what the helper says until it ends, or says nonsense.
func (h *helper) follow(say func(inputReport)) error {
	lines := bufio.NewScanner(h.out)
	lines.Buffer(make([]byte, maxReportLine), maxReportLine)
	for lines.Scan() {
		r, err := parseInputReport(strings.TrimSpace(lines.Text()))
		if err != nil {
			return err
		}
		say(r)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("hear a session's helper: %w", err)
	}
	return errors.New("the session's helper has ended")
}

// end ends the helper and waits for it. Whoever follows it hears the end.
func (h *helper) end() {
	h.in.Close()
	_ = h.process.Kill() // it ends by itself, if it is well
	_, _ = h.process.Wait()
	h.out.Close() // not before: that would wait for who reads
}

// ownSession is the session that this process is in.
func ownSession() (uint32, bool) {
	var id uint32
	err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &id)
	return id, err == nil
}
