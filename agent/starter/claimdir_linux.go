package starter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"skua/internal/job"
)

// More names within a claim's directory.
const (
	claimFile  = "claim.json"
	socketName = "sock"
	logName    = "init.log"
)

// Modes of the directories that a job may use.
const (
	imageMode   = 0o700
	scratchMode = 0o755
	tmpMode     = 0o777 | os.ModeSticky
	shmMode     = 0o777 | os.ModeSticky
)

// claimRecord is what Adopt and Remove need to know of a claim.
type claimRecord struct {
	V      int         `json:"v"`
	Claim  job.ClaimID `json:"claim"`
	Cgroup string      `json:"cgroup,omitempty"`
	UID    int         `json:"uid,omitempty"` // of the init; 0 if it is Starter.uid

	Legacy  map[string]string `json:"legacy,omitempty"` // directories in cgroup v1, by controller
	Network Network           `json:"network"`
}

// mkdir makes a directory that others than the agent pass through, whatever the umask is.
func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// layOut makes the directories of a claim.
func (s *Starter) layOut(dir string, initUID int) error {
	jobUID := initUID
	if s.mapped {
		jobUID += jobID
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
		uid  int
	}{
		{rootName, 0o755, initUID},
		{stateName, 0o700, initUID},
		{imageName, imageMode, initUID},
		{scratchName, scratchMode, jobUID},
		{scratchName + "/" + TmpName, tmpMode, jobUID},
		{scratchName + "/" + ShmName, shmMode, jobUID},
	} {
		p := filepath.Join(dir, d.name)
		if err := os.Mkdir(p, 0o700); err != nil {
			return err
		}
		if s.mapped {
			if err := os.Lchown(p, d.uid, d.uid); err != nil {
				return err
			}
		}
		if err := os.Chmod(p, d.mode); err != nil {
			return err
		}
	}
	return nil
}

// takeOver gives the files that the caller put into scratch and the image directory to the ids that
// this machine maps: those of another machine may differ.
func (s *Starter) takeOver(claim job.ClaimID) error {
	if !s.mapped {
		return nil
	}
	initUID := s.uidOf(claim)
	for name, uid := range map[string]int{scratchName: initUID + jobID, imageName: initUID} {
		err := filepath.WalkDir(filepath.Join(s.dir(claim), name), func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, uid, uid)
		})
		if err != nil {
			return fmt.Errorf("take over files: %w", err)
		}
	}
	return nil
}

func writeRecord(dir string, r claimRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, claimFile), b, 0o600)
}

func readRecord(dir string) (claimRecord, error) {
	var r claimRecord
	return r, readJSON(filepath.Join(dir, claimFile), &r)
}

// readExit reads how the claim's last job ended, as far as that can be relied on: a machine that has stopped
// meanwhile may have lost what the job had written.
func readExit(dir string) (*Exit, error) {
	var s savedExit
	if err := readJSON(filepath.Join(dir, stateName, exitFile), &s); err != nil {
		return nil, err
	}
	if s.Boot != "" && s.Boot != bootID() {
		return nil, errors.New("the machine was restarted since the job ended")
	}
	return &s.Exit, nil
}

// readJSON reads a small file.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// lastLine returns the last line of a log, for an error message.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	lines := slices.Collect(strings.Lines(strings.TrimSpace(string(b))))
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// removeTree is os.RemoveAll for trees in which a job may have made directories without permissions.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) // before its entries are read
		}
		return nil
	})
	return os.RemoveAll(dir)
}
