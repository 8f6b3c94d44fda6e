package realpool

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Display starts an X server without a screen and gives its name, such as ":7". It ends with the test.
func Display(t testing.TB) string {
	t.Helper()
	// Not one of the server's choosing: two that look for a display at a time, as the tests of two
	// packages do, take each other's sockets in /tmp away.
	number := 20_000 + os.Getpid()%1000*10
	for {
		_, err := os.Stat(fmt.Sprintf("/tmp/.X11-unix/X%d", number))
		if err != nil {
			break
		}
		number++
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "Xvfb", fmt.Sprint(":", number), "-displayfd", "1", "-screen", "0", "320x240x24", "-nolisten", "tcp")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		t.Fatalf("start Xvfb: %v", err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
	buf := make([]byte, 16) // it writes a number when it is ready
	n, err := out.Read(buf)
	if err != nil {
		t.Fatalf("Xvfb does not say which display it has: %v", err)
	}
	return ":" + strings.TrimSpace(string(buf[:n]))
}

// Type has an owner type on a display until the function that it returns is called.
func Type(t testing.TB, display string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			// It is never killed: the key that it has just pressed would stay down, and repeat.
			cmd := exec.Command("xdotool", "type", "--delay", "50", "dear ")
			cmd.Env = append(cmd.Environ(), "DISPLAY="+display)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("xdotool: %v\n%s", err, out)
				return
			}
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}
