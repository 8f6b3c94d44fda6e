package starter

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"skua/agent/walk"
	"skua/internal/job"
)

// More names within a claim's directory.
const (
	rootName   = "root" // where the sandbox's root is mounted; empty on disk
	socketName = "sock" // in the state directory, as the next
	logName    = "init.log"
)

// Modes of a claim's directory, which its init passes through, and of those that a job may use.
const (
	claimMode   = 0o711
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
	UID    int         `json:"uid,omitempty"`  // of the init; 0 if it is Starter.uid
	Boot   string      `json:"boot,omitempty"` // which run of the machine; "" from an older agent

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
	if err := os.Chmod(dir, claimMode); err != nil {
		return err
	}
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
func (i *Init) takeOver() error {
	if !i.s.mapped {
		return nil
	}
	for dir, uid := range map[string]int{i.Scratch(): i.initUID() + jobID, i.ImageDir(): i.initUID()} {
		if err := giveTree(dir, uid); err != nil {
			return fmt.Errorf("take over files: %w", err)
		}
	}
	return nil
}

// giveTree makes a directory and all below it a user's, and their group's of the same number.
func giveTree(dir string, uid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return walk.Tree(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) == uid && int(st.Gid) == uid {
				return nil
			}
		}
		return root.Lchown(name, uid, uid)
	})
}

// handle takes hold of the claim's cgroups, as far as it has any and they are still there.
func (r *claimRecord) handle() (handle, error) {
	h := noHandle
	h.uid = r.UID
	if r.Cgroup == "" {
		return h, nil
	}
	var err error
	if h.cg, err = openCgroup(r.Cgroup, r.Legacy); err == nil {
		h.cg.calm()
	}
	return h, err
}

// blame completes what the init, which is gone, has said of a job's end.
func (r *claimRecord) blame(e *Exit) {
	if r.Cgroup != "" {
		(&jobCgroup{path: r.Cgroup, legacy: r.Legacy}).blame(e)
	}
}

// removeTree is os.RemoveAll for trees in which a job may have made directories without permissions.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	openTree(dir)
	return os.RemoveAll(dir)
}

// openTree gives us permission to all directories of a tree that are ours.
func openTree(dir string) {
	_ = os.Chmod(dir, 0o700)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	_ = walk.Tree(root, ".", func(name string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			_ = root.Chmod(name, 0o700) // before its entries are read
		}
		return nil
	})
}
