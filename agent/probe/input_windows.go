package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	user32                  = windows.NewLazySystemDLL("user32.dll")
	getLastInputInfo        = user32.NewProc("GetLastInputInfo")
	registerClassEx         = user32.NewProc("RegisterClassExW")
	createWindowEx          = user32.NewProc("CreateWindowExW")
	destroyWindow           = user32.NewProc("DestroyWindow")
	defWindowProc           = user32.NewProc("DefWindowProcW")
	getMessage              = user32.NewProc("GetMessageW")
	dispatchMessage         = user32.NewProc("DispatchMessageW")
	postMessage             = user32.NewProc("PostMessageW")
	setTimer                = user32.NewProc("SetTimer")
	registerRawInputDevices = user32.NewProc("RegisterRawInputDevices")

	shell32        = windows.NewLazySystemDLL("shell32.dll")
	userState      = shell32.NewProc("SHQueryUserNotificationState")
	kernel32       = windows.NewLazySystemDLL("kernel32.dll")
	getModule      = kernel32.NewProc("GetModuleHandleW")
	inputClassName = windows.StringToUTF16Ptr("SkuaInput")
)

// Messages of Windows, and one of our own.
const (
	wmInput = 0x00FF
	wmTimer = 0x0113
	wmStop  = 0x8000 // WM_APP
)

// followInput tells of the input of the session that this process is in, until ctx ends: Windows pushes it to a
// window without a place on the screen, and what it is about is never asked for. Between the first input and
// the next quiet time nothing is pushed, so it costs an owner who types nothing.
func followInput(ctx context.Context, quiet time.Duration, say func(inputReport)) error {
	runtime.LockOSThread() // a window belongs to a thread
	defer runtime.UnlockOSThread()
	w, err := newInputWindow()
	if err != nil {
		return err
	}
	defer destroyWindow.Call(w)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ctx.Done():
			postMessage.Call(w, wmStop, 0, 0)
		case <-ended:
		}
	}()
	f := inputFollow{quiet: quiet}
	listens := false
	defer func() {
		if listens {
			_ = listenInput(w, false)
		}
	}()
	for pushed := false; ; {
		idle, err := sessionIdle()
		if err != nil {
			return err
		}
		next := f.step(windows.DurationSinceBoot(), idle, pushed)
		if next.listen != listens {
			err := listenInput(w, next.listen)
			if err != nil && !next.listen {
				return err
			}
			listens = next.listen && err == nil // else it is looked for
		}
		if next.say != nil {
			next.say.FullScreen = fullScreen()
			say(*next.say)
		}
		if ok, _, err := setTimer.Call(w, 1, uintptr(next.wait.Milliseconds()), 0); ok == 0 {
			return os.NewSyscallError("SetTimer", err)
		}
		what, err := nextInput(listens)
		if err != nil {
			return err
		}
		if what == wmStop {
			return context.Cause(ctx)
		}
		pushed = what == wmInput
	}
}

// nextInput waits for the next message that says something.
func nextInput(listens bool) (what uint32, err error) {
	for {
		var m struct {
			window uintptr
			what   uint32
			w, l   uintptr
			time   uint32
			x, y   int32
			_      uint32
		}
		switch ok, _, err := getMessage.Call(uintptr(unsafe.Pointer(&m)), 0, 0, 0); int32(ok) {
		case -1:
			return 0, os.NewSyscallError("GetMessage", err)
		case 0:
			return 0, errors.New("the session ends")
		}
		dispatchMessage.Call(uintptr(unsafe.Pointer(&m))) // which lets go of what came with it
		switch {
		case m.what == wmTimer, m.what == wmStop, m.what == wmInput && listens:
			return m.what, nil
		}
	}
}

// newInputWindow makes a window that is only there to get messages.
func newInputWindow() (uintptr, error) {
	module, _, _ := getModule.Call(0)
	class := struct {
		size, style                      uint32
		proc                             uintptr
		classExtra, windowExtra          int32
		module, icon, cursor, background uintptr
		menu, name                       *uint16
		smallIcon                        uintptr
	}{proc: defWindowProc.Addr(), module: module, name: inputClassName}
	class.size = uint32(unsafe.Sizeof(class))
	if ok, _, err := registerClassEx.Call(uintptr(unsafe.Pointer(&class))); ok == 0 && !errors.Is(err, windows.ERROR_CLASS_ALREADY_EXISTS) {
		return 0, os.NewSyscallError("RegisterClassEx", err)
	}
	const messageOnly = ^uintptr(2) // HWND_MESSAGE, which is -3
	w, _, err := createWindowEx.Call(0, uintptr(unsafe.Pointer(inputClassName)), 0, 0, 0, 0, 0, 0, messageOnly, 0, module, 0)
	if w == 0 {
		return 0, os.NewSyscallError("CreateWindowEx", err)
	}
	return w, nil
}

// listenInput has the session's keyboard and mouse pushed to the window, or no more.
func listenInput(window uintptr, on bool) error {
	type device struct { // RAWINPUTDEVICE
		page, usage uint16
		flags       uint32
		target      uintptr
	}
	const genericDesktop, mouse, keyboard = 1, 2, 6
	const inputSink, remove = 0x100, 0x001
	flags := uint32(inputSink)
	if !on {
		flags, window = remove, 0
	}
	devices := []device{{genericDesktop, mouse, flags, window}, {genericDesktop, keyboard, flags, window}}
	ok, _, err := registerRawInputDevices.Call(uintptr(unsafe.Pointer(&devices[0])), uintptr(len(devices)), unsafe.Sizeof(devices[0]))
	if ok == 0 {
		return os.NewSyscallError("RegisterRawInputDevices", err)
	}
	return nil
}

// sessionIdle asks when this session had its last input.
func sessionIdle() (time.Duration, error) {
	var info struct {
		size  uint32
		ticks uint32 // milliseconds since the start, modulo 2³²
	}
	info.size = uint32(unsafe.Sizeof(info))
	if ok, _, err := getLastInputInfo.Call(uintptr(unsafe.Pointer(&info))); ok == 0 {
		return 0, fmt.Errorf("last input of the session: %w", err)
	}
	now := uint32(windows.DurationSinceBoot().Milliseconds())
	if d := int32(now - info.ticks); d < 0 && d > -1000 {
		return 0, nil // it was while we asked
	}
	return time.Duration(now-info.ticks) * time.Millisecond, nil
}

// fullScreen says whether something fills the session's screen and wants no company: a game, a talk, a film.
func fullScreen() bool {
	const busy, direct3D, presentation = 2, 3, 4 // QUERY_USER_NOTIFICATION_STATE
	if userState.Find() != nil {
		return false
	}
	var state uint32
	failed, _, _ := userState.Call(uintptr(unsafe.Pointer(&state)))
	return failed == 0 && state >= busy && state <= presentation
}
