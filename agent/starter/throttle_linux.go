package starter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// throttlePeriod is the time over which a job's cpus are counted: the kernel's own choice.
const throttlePeriod = 100 * time.Millisecond

// Throttle has the job get so many cpus at most, its processes together; 0 or less lifts that. It needs
// the processor controller of a cgroup v2, and without one the error is an errors.ErrUnsupported.
func (i *Init) Throttle(_ context.Context, cpus float64) error {
	if i.cg == nil {
		if cpus <= 0 {
			return nil
		}
		return fmt.Errorf("throttle claim %s: its processes are in no cgroup: %w", i.claim, errors.ErrUnsupported)
	}
	err := os.WriteFile(filepath.Join(i.cg.path, "cpu.max"), cpuMax(cpus), 0)
	switch {
	case !errors.Is(err, fs.ErrNotExist) && err != nil:
		return fmt.Errorf("throttle claim %s: %w", i.claim, err)
	case err != nil && cpus > 0:
		return fmt.Errorf("throttle claim %s: the machine's cgroup has no cpu controller: %w", i.claim, errors.ErrUnsupported)
	}
	return nil
}

// cpuMax is what cpu.max says for so many cpus.
func cpuMax(cpus float64) []byte {
	period := throttlePeriod.Microseconds()
	if cpus <= 0 {
		return fmt.Appendf(nil, "max %d", period)
	}
	const least = 1000 // microseconds; the kernel takes no less
	return fmt.Appendf(nil, "%d %d", max(int64(cpus*float64(period)), least), period)
}
