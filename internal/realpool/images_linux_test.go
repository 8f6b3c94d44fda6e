package realpool_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// TestImages is no test but a measurement, of how long a job stands still that moves by an image, and what of that
// goes for which part. It runs where $SKUA_IMAGES says how much the jobs hold, in megabytes. See scripts/bench.
func TestImages(t *testing.T) {
	sizes := strings.Fields(os.Getenv("SKUA_IMAGES"))
	if len(sizes) == 0 {
		t.Skip("SKUA_IMAGES does not say how many megabytes jobs are to hold")
	}
	if can := needSandbox(t); !can.Checkpoint {
		t.Fatal("jobs cannot be checkpointed here: ", can.CheckpointWhy)
	}
	for _, size := range sizes {
		mb, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal("SKUA_IMAGES: ", err)
		}
		for _, content := range []struct{ name, python string }{
			{"random", "[os.urandom(1 << 20) for _ in range(%d)]"},
			{"numbers", "array.array('Q', range(%d << 17))"},
		} {
			p := realpool.Start(t, bin, realpool.Config{Agents: 2, Lease: 600})
			h := holder{p, fmt.Sprintf("image_%dmb_%s", mb, content.name)}
			h.submit(mb, fmt.Sprintf(content.python, mb))
			h.move()
			h.again()
			p.Must("skua", "rm", h.id())
			p.Await("the job is gone", func() bool { return len(p.JobProcesses(h.id())) == 0 })
		}
		fmt.Printf("bench: image_%dmb_plain_disk_ms=%.0f\n", mb, toDisk(t, mb))
		fmt.Printf("bench: image_%dmb_plain_loopback_ms=%.0f\n", mb, overLoopback(t, mb))
	}
}

// holder is a job that holds much memory, and writes the time a hundred times a second.
type holder struct {
	p    *realpool.Pool
	name string // of its figures
}

func (h holder) id() string { return "1.0" } // the only job of its pool

func (h holder) submit(mb int, held string) {
	h.p.Script("holder.sh", fmt.Sprintf(`exec python3 -c '
import array, os, time
held = %s
n = 0
with open("%s/steps", "a", buffering=1) as journal:
    while True:
        n += 1
        print("holder", n, time.time(), file=journal)
        time.sleep(0.01)
'`, strings.ReplaceAll(held, "'", `"`), h.p.Journal))
	h.p.Submit("holder.sub", fmt.Sprintf("executable = holder.sh\nlog = steps.log\nrequest_memory = %dMB\nrequest_disk = 20GB\nqueue\n", mb+mb/10+200))
	h.p.AwaitFor(5*time.Minute, "the job works", func() bool { return len(h.p.Lines("steps")) > 50 })
}

// move has it go on elsewhere, and prints what that took.
func (h holder) move() {
	h.p.Must("skua", "vacate", h.id())
	h.p.AwaitFor(15*time.Minute, "the job goes on", func() bool { return h.left() == 1 && h.started() == 2 })
	before := len(h.p.Lines("steps"))
	h.p.Await("the job works", func() bool { return len(h.p.Lines("steps")) > before+20 })
	var still time.Duration
	lines := h.p.Lines("steps")
	for i := 1; i < len(lines); i++ {
		still = max(still, lines[i].At.Sub(lines[i-1].At))
	}
	bytes, dump, took := h.taken()
	h.print("size_mb", bytes/1e6)
	h.print("dump_ms", ms(dump))
	h.print("upload_ms", ms(took-dump))
	h.print("restore_ms", ms(still-took))
	fetch, back := h.fetched()
	h.print("fetch_ms", ms(fetch))
	h.print("criu_ms", ms(back-fetch))
	h.print("downtime_ms", ms(still))
}

// again takes another image of it, of the same memory, and prints how much of that travels.
func (h holder) again() {
	h.p.Must("skua", "edit", h.id(), "Requirements=false") // it stays where its image is
	before := loopbackBytes()
	h.p.Must("skua", "vacate", h.id())
	h.p.AwaitFor(15*time.Minute, "the job has left again", func() bool { return h.left() == 2 })
	h.print("again_sent_mb", (loopbackBytes()-before)/1e6)
	_, dump, took := h.taken()
	h.print("again_ms", ms(took))
	h.print("again_dump_ms", ms(dump))
}

func (h holder) print(figure string, value float64) {
	fmt.Printf("bench: %s_%s=%.4g\n", h.name, figure, value)
}

func (h holder) left() int    { return strings.Count("\n"+h.p.Read("steps.log"), "\n004 (") }
func (h holder) started() int { return strings.Count("\n"+h.p.Read("steps.log"), "\n001 (") }

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

var takenLine = regexp.MustCompile(`time=(\S+) .*msg="job is checkpointed".* bytes=(\d+) dump=(\S+) took=(\S+)`)

// taken is what the agents say of the newest image that a job left behind.
func (h holder) taken() (bytes float64, dump, took time.Duration) {
	newest := ""
	for _, g := range h.p.Agents {
		for _, m := range takenLine.FindAllStringSubmatch(g.Log(), -1) {
			if m[1] > newest {
				newest = m[1]
				bytes, _ = strconv.ParseFloat(m[2], 64)
				dump, _ = time.ParseDuration(m[3])
				took, _ = time.ParseDuration(m[4])
			}
		}
	}
	return bytes, dump, took
}

var backLine = regexp.MustCompile(`msg="job goes on from its checkpoint".* fetch=(\S+) took=(\S+)`)

// fetched is what the agents say of the restore: how long it took to fetch the image, and in all.
func (h holder) fetched() (fetch, took time.Duration) {
	for _, g := range h.p.Agents {
		if m := backLine.FindStringSubmatch(g.Log()); m != nil {
			fetch, _ = time.ParseDuration(m[1])
			took, _ = time.ParseDuration(m[2])
		}
	}
	return fetch, took
}

// loopbackBytes is how much has gone over the loopback interface.
func loopbackBytes() float64 {
	text, _ := os.ReadFile("/sys/class/net/lo/statistics/tx_bytes")
	n, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return n
}

// toDisk gives the milliseconds in which so many megabytes are written to the disk that images are on.
func toDisk(t *testing.T, mb int) float64 {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	start := time.Now()
	for range mb {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return ms(time.Since(start))
}

// overLoopback gives the milliseconds in which they go over a plain connection.
func overLoopback(t *testing.T, mb int) float64 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return // and the accepting side waits until the test's time is over
		}
		defer conn.Close()
		block := make([]byte, 1<<20)
		for range mb {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	if n, err := io.Copy(io.Discard, conn); err != nil || n != int64(mb)<<20 {
		t.Fatalf("%d bytes came, and then %v", n, err)
	}
	return ms(time.Since(start))
}
