package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	renameio "github.com/google/renameio/v2/maybe"
	"github.com/klauspost/cpuid/v2"

	"skua/policy/classad"
)

// Figures say how fast one cpu of the machine is, in HTCondor's terms.
type Figures struct {
	Mips   int64 `json:"mips"`   // of Dhrystone, in millions of instructions of a VAX
	KFlops int64 `json:"kflops"` // of Linpack with 100 equations in double precision
}

// Set sets the attributes.
func (f Figures) Set(ad *classad.Ad) {
	if f == (Figures{}) {
		return
	}
	ad.SetInt("Mips", f.Mips)
	ad.SetInt("KFlops", f.KFlops)
}

// measureTime is how much time of one cpu each figure takes. Longer does not make it much better.
const measureTime = 150 * time.Millisecond

// Measure finds the figures, which takes one cpu for half a second, after everybody else. It counts the
// time that it was given, not what passed meanwhile.
func Measure() Figures {
	done := make(chan Figures)
	go func() {
		runtime.LockOSThread() // the priority stays with the thread, which ends here
		lowestPriority()
		done <- Figures{
			Mips:   int64(rate(dhrystone) / dhrystonesPerMips),
			KFlops: int64(rate(linpack) * linpackFlops / 1000),
		}
	}()
	return <-done
}

// rate is how often work is done in a second.
func rate(work func(times int)) float64 {
	work(1) // caches and clocks warm up
	for times := 1; ; times *= 2 {
		began := threadTime()
		work(times)
		if took := threadTime() - began; took >= measureTime || times > 1<<30 {
			return float64(times) / max(took, time.Microsecond).Seconds()
		}
	}
}

// figuresFile is what is kept on disk.
type figuresFile struct {
	V   int    `json:"v"`
	CPU string `json:"cpu"` // of which the figures are
	Figures
}

const figuresVersion = 1

// ErrNoFigures says that none have been kept, or of another processor.
var ErrNoFigures = errors.New("nothing was measured yet")

// LoadFigures reads figures that SaveFigures has written on this machine, or on another of its kind.
func LoadFigures(path string) (Figures, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Figures{}, ErrNoFigures
	}
	if err != nil {
		return Figures{}, err
	}
	return parseFigures(b, cpuName())
}

func parseFigures(b []byte, cpu string) (Figures, error) {
	var f figuresFile
	if err := json.Unmarshal(b, &f); err != nil || f.V != figuresVersion || f.CPU != cpu || f.Mips <= 0 || f.KFlops <= 0 {
		return Figures{}, ErrNoFigures
	}
	return f.Figures, nil
}

// SaveFigures keeps figures for later starts.
func SaveFigures(path string, f Figures) error {
	b, err := json.Marshal(figuresFile{V: figuresVersion, CPU: cpuName(), Figures: f})
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o600)
}

// cpuName tells kinds of processors apart.
func cpuName() string {
	return fmt.Sprintf("%s %s/%d/%d", runtime.GOARCH, cpuid.CPU.BrandName, cpuid.CPU.Family, cpuid.CPU.Model)
}
