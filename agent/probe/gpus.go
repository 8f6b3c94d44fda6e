package probe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"skua/policy/classad"
)

// GPU is one graphics processor that can compute.
type GPU struct {
	ID         string  // "GPU-1a2b3c4d", the beginning of the UUID
	Name       string  // "NVIDIA GeForce RTX 3090"
	MemoryMiB  int64   // 0 when it is not told
	Capability float64 // of CUDA, 8.6; 0 when it is not told
	Driver     string  // version, "535.183.01"
}

const (
	gpusMost    = 64
	gpuOutput   = 1 << 16          // bytes of nvidia-smi's output that are read
	gpuWait     = 30 * time.Second // it starts the driver if nobody else uses it
	gpuPatience = 2 * time.Second  // then it is asked on, and the answer is for later
	gpuAttempts = 3                // after which a driver that does not answer is left alone
)

// gpuQueries are what nvidia-smi is asked, the best first: drivers before 470 do not know compute_cap.
var gpuQueries = []string{
	"uuid,name,memory.total,driver_version,compute_cap",
	"uuid,name,memory.total,driver_version",
}

// A GPUFinder asks the drivers for the machine's GPUs, until they have answered once: asking wakes the
// device and takes a second. One goroutine uses it.
type GPUFinder struct {
	Command string // path of nvidia-smi; "" finds it

	asked   int
	pending chan gpuAnswer // of a question that is under way; nil for none
	found   bool
	gpus    []GPU
}

type gpuAnswer struct {
	gpus []GPU
	err  error
}

// GPUs gives the GPUs of the machine as far as they are known, none without an error where there is no
// driver. It does not wait long: a driver that is slow has answered the next time, and one that hangs in
// the kernel, from which nobody can wake it, is left there.
func (f *GPUFinder) GPUs(ctx context.Context) ([]GPU, error) {
	if f.pending == nil {
		if f.found || f.asked >= gpuAttempts {
			return f.gpus, nil
		}
		command := f.Command
		if command == "" {
			var err error
			if command, err = exec.LookPath("nvidia-smi"); err != nil {
				return nil, nil // it may be installed later, and looking is cheap
			}
		}
		f.asked++
		pending := make(chan gpuAnswer, 1)
		f.pending = pending
		go func() { pending <- askDriver(context.WithoutCancel(ctx), command) }()
	}
	patience := time.NewTimer(gpuPatience)
	defer patience.Stop()
	select {
	case a := <-f.pending:
		f.pending = nil
		f.gpus, f.found = a.gpus, a.err == nil
		return a.gpus, a.err
	case <-patience.C:
	case <-ctx.Done():
	}
	return nil, nil
}

// askDriver asks in each way until one is understood.
func askDriver(ctx context.Context, command string) gpuAnswer {
	var err error
	for _, query := range gpuQueries {
		var out []byte
		if out, err = askGPUs(ctx, command, query); err == nil {
			return gpuAnswer{gpus: parseGPUs(out)}
		}
	}
	return gpuAnswer{err: fmt.Errorf("ask for GPUs: %w", err)}
}

func askGPUs(ctx context.Context, command, query string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gpuWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, "--query-gpu="+query, "--format=csv,noheader,nounits")
	out := &bounded{most: gpuOutput}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
		return nil, fmt.Errorf("%s: %w: %.200s", command, err, line)
	}
	return out.Bytes(), nil
}

// bounded keeps the first bytes that are written to it, and lets the rest go.
type bounded struct {
	buf  bytes.Buffer // not embedded: its ReadFrom would let everything in
	most int
	cut  bool // there was more
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := p[:min(len(p), b.most-b.buf.Len())]
	b.cut = b.cut || len(keep) < len(p)
	b.buf.Write(keep)
	return len(p), nil
}

func (b *bounded) Bytes() []byte  { return b.buf.Bytes() }
func (b *bounded) String() string { return b.buf.String() }

// parseGPUs reads the lines of nvidia-smi's answer to one of gpuQueries. Lines that are none are passed
// over: it writes warnings among them.
func parseGPUs(out []byte) []GPU {
	var gpus []GPU
	for line := range strings.Lines(string(out)) {
		r := csv.NewReader(strings.NewReader(line))
		r.TrimLeadingSpace, r.LazyQuotes = true, true
		fields, err := r.Read()
		const least = 4
		if err != nil || len(fields) < least || len(gpus) == gpusMost {
			continue
		}
		for i, f := range fields {
			fields[i] = strings.TrimSpace(f)
			if strings.HasPrefix(fields[i], "[") { // [N/A], [Not Supported], [Unknown Error]
				fields[i] = ""
			}
		}
		id, ok := gpuID(fields[0])
		if !ok {
			continue
		}
		g := GPU{ID: id, Name: fields[1], Driver: fields[3]}
		if n, err := strconv.ParseInt(strings.TrimSuffix(fields[2], " MiB"), 10, 32); err == nil && n > 0 {
			g.MemoryMiB = n
		}
		if len(fields) > least {
			if c, err := strconv.ParseFloat(fields[least], 64); err == nil && c > 0 && c < 1000 {
				g.Capability = math.Round(c*100) / 100
			}
		}
		gpus = append(gpus, g)
	}
	return gpus
}

// gpuID shortens a UUID as HTCondor does, to its kind and its first eight digits.
func gpuID(uuid string) (string, bool) {
	kind, digits, ok := strings.Cut(uuid, "-")
	const length = 8
	if !ok || kind != "GPU" || len(digits) < length {
		return "", false
	}
	digits = digits[:length]
	if strings.Trim(strings.ToLower(digits), "0123456789abcdef") != "" {
		return "", false
	}
	return kind + "-" + digits, true
}

// SetGPUs tells of GPUs under HTCondor's names: what all have in common, and each in an ad of its own. It
// does not set GPUs, which says how many jobs may use: none can yet.
func SetGPUs(ad *classad.Ad, gpus []GPU) {
	if len(gpus) == 0 {
		return
	}
	ids := make([]string, len(gpus))
	for i, g := range gpus {
		ids[i] = g.ID
		own := classad.NewAd()
		own.SetString("Id", g.ID)
		g.set(own, "")
		if e, err := classad.ParseExpr(own.String()); err == nil {
			ad.Set("GPUs_"+strings.ReplaceAll(g.ID, "-", "_"), e)
		}
	}
	ad.SetString("DetectedGPUs", strings.Join(ids, ", "))
	inCommon(gpus).set(ad, "GPUs_")
}

// set sets what is known of a GPU.
func (g GPU) set(ad *classad.Ad, prefix string) {
	if g.Name != "" {
		ad.SetString(prefix+"DeviceName", g.Name)
	}
	if g.MemoryMiB > 0 {
		ad.SetInt(prefix+"GlobalMemoryMb", g.MemoryMiB)
	}
	if g.Capability > 0 {
		ad.SetReal(prefix+"Capability", g.Capability)
	}
	if g.Driver != "" {
		ad.SetString(prefix+"DriverVersion", g.Driver)
	}
}

// inCommon is what all have alike.
func inCommon(gpus []GPU) GPU {
	all := gpus[0]
	for _, g := range gpus[1:] {
		all = GPU{
			Name: same(all.Name, g.Name), MemoryMiB: same(all.MemoryMiB, g.MemoryMiB),
			Capability: same(all.Capability, g.Capability), Driver: same(all.Driver, g.Driver),
		}
	}
	return all
}

func same[T cmp.Ordered](a, b T) T {
	if a != b {
		var none T
		return none
	}
	return a
}
