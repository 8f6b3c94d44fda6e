package courier

import (
	"fmt"
	"os"
	"os/exec"

	"skua/submit/client"
)

// Start starts a courier in the background, with the program and arguments given. It outlives the caller
// and the terminal.
func Start(h client.Home, program string, args ...string) error {
	if err := os.MkdirAll(h.Host(), 0o700); err != nil {
		return fmt.Errorf("start the courier: %w", err)
	}
	log, err := openLog(LogFile(h))
	if err != nil {
		return fmt.Errorf("start the courier: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Args[0] = "skua" // the program heeds the name by which it is called, and the caller's may be condor_submit
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = string(h) // not where the user happens to be: that may be a disk to be taken out
	if os.Getenv("SKUA_HOME") != "" {
		cmd.Env = append(os.Environ(), "SKUA_HOME="+string(h)) // it may be relative to where the user is
	}
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the courier: %w", err)
	}
	return cmd.Process.Release()
}

// openLog opens the courier's log, and puts a large one aside.
func openLog(path string) (*os.File, error) {
	const most = 4 << 20
	if st, err := os.Stat(path); err == nil && st.Size() > most {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}
