package startd

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"skua/internal/job"
)

// mountPatience is how long a shared directory has to show itself. While the server of a mounted file system is away,
// whoever asks for something there waits in the kernel, and nothing but the end of the process ends that.
const mountPatience = 2 * time.Second

// mountWatch knows which directories are there, and keeps nobody waiting for one whose server does not answer.
type mountWatch struct {
	look func(dir string) bool // may take for ever

	mu    sync.Mutex               // guards what follows
	asked map[string]*mountInquiry // that are under way
}

// mountInquiry is a look at one directory. A goroutine whose look hangs is left behind: there is one for a directory at most.
type mountInquiry struct {
	begun    time.Time
	answered chan struct{} // closed when there is known
	there    bool
}

func newMountWatch() *mountWatch {
	return &mountWatch{look: isThere, asked: map[string]*mountInquiry{}}
}

// there gives those of the directories that are there and have shown it soon enough.
func (w *mountWatch) there(dirs []string) []string {
	var asked []*mountInquiry
	for _, dir := range dirs {
		asked = append(asked, w.ask(dir))
	}
	var there []string
	for i, q := range asked {
		patience := time.NewTimer(time.Until(q.begun.Add(mountPatience)))
		select {
		case <-q.answered:
			if q.there {
				there = append(there, dirs[i])
			}
		case <-patience.C:
		}
		patience.Stop()
	}
	return there
}

// ask begins a look at the directory, unless the one before has not ended.
func (w *mountWatch) ask(dir string) *mountInquiry {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q := w.asked[dir]; q != nil {
		return q
	}
	q := &mountInquiry{begun: time.Now(), answered: make(chan struct{})}
	w.asked[dir] = q
	go func() {
		q.there = w.look(dir)
		w.mu.Lock()
		delete(w.asked, dir)
		w.mu.Unlock()
		close(q.answered)
	}()
	return q
}

// mounts are the shared directories of the policy that the machine has now.
func (d *Daemon) mounts() []string { return d.shared.there(d.policy().Shared) }

// checkMounts finds out whether all shared directories are there. Without one of them the machine does not
// say that it belongs to their domain: a job that relies on them would fail here.
func (d *Daemon) checkMounts() {
	wanted := d.policy().Shared
	there := d.shared.there(wanted)
	whole := len(there) == len(wanted)
	if was := d.unshared.Swap(!whole); was == !whole {
		return
	}
	if whole {
		d.log.Info("all shared directories are there again")
		return
	}
	for _, dir := range wanted {
		if !slices.Contains(there, dir) {
			d.log.Warn("a shared directory is missing, or its server does not answer: until it is there, no job comes that relies on it", "mount", dir)
		}
	}
}

// checkDir holds a job whose files are not transferred (should_transfer_files = NO) and which would not
// find them here.
func (t *tenant) checkDir() error {
	if dir := t.cmd.Dir; dir != "" && !lies(dir, t.k.d.policy().Shared) {
		return &holdError{code: job.HoldNoSharedFS, reason: fmt.Sprintf(
			"the job's directory %s is in no file system that %s shares with jobs; with should_transfer_files = YES its files are sent",
			dir, t.k.d.cfg.Machine)}
	}
	return nil
}

// missesDir gives the claim of such a job back while the file system of its directory is not among those that are there.
func (t *tenant) missesDir(there []string) error {
	if dir := t.cmd.Dir; dir != "" && lies(dir, t.k.d.policy().Shared) && !lies(dir, there) {
		return fmt.Errorf("the shared file system of the job's directory %s is missing, or its server does not answer", dir)
	}
	return nil
}

// lies reports whether a path is in one of the directories.
func lies(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	})
}
