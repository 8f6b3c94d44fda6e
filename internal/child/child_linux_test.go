package child_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skua/internal/child"
)

// starter is the environment variable that makes this program one that starts another and then waits to be killed.
const starter = "SKUA_CHILD_STARTER"

func TestMain(m *testing.M) {
	if os.Getenv(starter) == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sleep", "600")
	if _, err := child.Start(cmd, syscall.SIGKILL); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// Other threads may end: the program is not theirs.
	for range 20 {
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			runtime.LockOSThread()
		}()
		<-gone
	}
	fmt.Println(cmd.Process.Pid)
	select {}
}

func TestEndsWithWhoStartedIt(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), starter+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ended, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the starter says %q", line)
	}
	there := func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && !strings.Contains(string(stat), ") Z ") // nobody may bury it
	}
	if !there() {
		t.Fatal("the program has ended before its starter")
	}
	_ = cmd.Process.Kill()
	<-ended
	for deadline := time.Now().Add(time.Minute); there(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the program goes on without its starter")
		}
	}
}

func TestStartFails(t *testing.T) {
	if _, err := child.Start(exec.Command("/no/such/program"), syscall.SIGKILL); err == nil {
		t.Error("no error")
	}
}
