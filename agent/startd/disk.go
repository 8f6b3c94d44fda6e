package startd

import (
	"fmt"
	"math"
	"time"

	"skua/agent/starter"
	"skua/internal/job"
)

// Measuring a scratch directory means walking through it, so it is not done more often than need be. What can
// be asked at any time for next to nothing is how much the file system has left: a job can only have taken
// what is gone from there.

// diskWatch decides when a scratch directory has to be measured, and when to look again.
type diskWatch struct {
	limit int64 // bytes that the directory may have; 0 for no limit
	floor int64 // bytes of the file system that are kept free

	walked time.Time     // when the directory was last measured
	took   time.Duration // how long that took
	had    int64         // what it had then
	then   int64         // what was free in the file system before

	looked time.Time // when that was last asked
	free   int64     // and the answer
	rate   float64   // bytes a second by which it has gone down since the time before
}

// see notes what is free now.
func (w *diskWatch) see(at time.Time, free int64) {
	w.rate = 0
	if d := at.Sub(w.looked).Seconds(); !w.looked.IsZero() && d > 0 && free < w.free {
		w.rate = float64(w.free-free) / d
	}
	w.looked, w.free = at, free
}

// due says whether the directory has to be measured: after each interval, and as soon as half of what it may
// still get is gone from the file system. No more than a tenth of the time is spent on it, and in quiet times
// a hundredth.
func (w *diskWatch) due(at time.Time, each time.Duration) bool {
	since := at.Sub(w.walked)
	if w.walked.IsZero() || since >= max(each, 100*w.took) {
		return true
	}
	return w.limit > 0 && w.then-w.free > (w.limit-w.had)/2 && since >= 10*w.took
}

// low says that the file system has less than is to stay free.
func (w *diskWatch) low() bool { return !w.looked.IsZero() && w.free < w.floor }

// nextLook is how long to wait before the next look: as usual, or half of the time in which the file system
// reaches its floor if it goes on like this.
func (w *diskWatch) nextLook(usual time.Duration) time.Duration {
	const least = 20 * time.Millisecond
	room := float64(w.free - w.floor)
	if w.rate <= 0 || room <= 0 {
		return usual
	}
	return min(usual, max(least, time.Duration(room/w.rate/2*float64(time.Second))))
}

// diskFloor is what is kept free of a file system of such a size: a fiftieth, but not more than a gigabyte.
func diskFloor(total int64) int64 {
	const most = 1 << 30
	return min(total/50, most)
}

// spare is what may be written to the file system of a directory before it has less than is to stay free there, which is
// floor bytes at least. If nobody knows, that is any number.
func spare(dir string, floor int64) int64 {
	free, total, known := diskSpace(dir)
	if !known {
		return math.MaxInt64
	}
	return free - max(floor, diskFloor(total))
}

// lookDisk looks what is left of the disk, and measures the scratch directory when that is due. While the disk
// is nearly full, the job has to go if it is one that fills it.
func (t *tenant) lookDisk(in Init) {
	now := time.Now()
	free, total, known := diskSpace(in.Scratch())
	t.mu.Lock()
	if w := &t.disk; known {
		if w.looked.IsZero() {
			w.limit, w.floor, w.then = t.limits.Disk, min(diskFloor(total), free/2), free
		}
		w.see(now, free)
	}
	due, low := t.disk.due(now, t.k.d.cfg.MeasureEach), t.disk.low()
	t.mu.Unlock()
	if !due && !low || !t.walking.CompareAndSwap(false, true) {
		return
	}
	t.k.wg.Go(func() {
		defer t.walking.Store(false)
		has, files := t.measureDisk(in)
		if low && fills(has, files) {
			t.kill(fmt.Sprintf("the disk of %s is nearly full: %s are left, and the job has %s of it in %d files", t.k.d.cfg.Machine, size(free), size(has), files))
		}
	})
}

// fills reports whether it would help to stop a job that has so many bytes and files of a disk which is nearly full. Empty
// files take nothing but the number of files that there can be.
func fills(bytes int64, files int) bool {
	const (
		little = 64 << 20
		each   = 4 << 10
	)
	return bytes > little || files > little/each
}

// measureDisk measures the scratch directory, counts what is in it, and has the job held if it is too large.
func (t *tenant) measureDisk(in Init) (disk int64, files int) {
	begun := time.Now()
	free, _, _ := diskSpace(in.Scratch())
	disk, files = treeSize(in.Scratch())
	t.peak(starter.Reading{}, disk)
	t.mu.Lock()
	t.disk.walked, t.disk.took, t.disk.had, t.disk.then = time.Now(), time.Since(begun), disk, free
	t.mu.Unlock()
	if t.limits.Disk > 0 && disk > t.limits.Disk {
		t.exceeded(&holdError{code: job.HoldOutOfResources, subcode: job.HoldOutOfDisk, reason: fmt.Sprintf(
			"the job used %s of disk for its files, and %s allows %s; request_disk asks for a slot with more",
			size(disk), t.k.name, size(t.limits.Disk))})
	}
	return disk, files
}

// measureAtEnd measures what a job leaves, unless that is known to take long: then what was measured
// while it ran has to do.
func (t *tenant) measureAtEnd(in Init) {
	t.mu.Lock()
	took := t.disk.took
	t.mu.Unlock()
	if took < time.Second {
		t.measureDisk(in)
	}
}
