package starter

import (
	"testing"
)

// What a job reads and writes is counted, its ended processes included, and goes along when it moves.
func TestTraffic(t *testing.T) {
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "traffic")
		runShell(t, i, "dd if=/dev/zero of=f bs=1M count=8 conv=fsync 2>/dev/null; (head -c 4194304 /dev/zero > g &); while [ ! -e stop ]; do sleep 0.01; done")
		const most = 1 << 40
		await(t, "12 MiB are counted", func() bool {
			r, err := i.Look(t.Context(), most)
			if err != nil {
				t.Fatal(err)
			}
			return r.Used.Written >= 12<<20
		})
		writeScratch(t, i, "stop", "")
		if e := awaitExit(t, i); e.Usage.Written < 12<<20 || e.Usage.Written > 40<<20 || e.Usage.NetOut != 0 {
			t.Errorf("its usage is %+v", e.Usage)
		}
		// The next job of the claim begins anew.
		runShell(t, i, "echo small")
		if e := awaitExit(t, i); e.Usage.Written > 1<<20 {
			t.Errorf("the usage of the job after it is %+v", e.Usage)
		}
	})
}

func TestParseTraffic(t *testing.T) {
	const io = "rchar: 100\nwchar: 200\nsyscr: 1\nsyscw: 2\nread_bytes: 4096\nwrite_bytes: 12288\ncancelled_write_bytes: 8192\n"
	if got := parseIO([]byte(io)); got != (traffic{read: 4096, written: 4096}) {
		t.Errorf("read as %+v", got)
	}
	if got := parseIO([]byte("read_bytes: many\nwrite_bytes: -1\n\nwrite_bytes")); got != (traffic{}) {
		t.Errorf("nonsense is read as %+v", got)
	}
	const dev = "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"    lo: 1000       5    0    0    0     0          0         0 1000       5    0    0    0     0       0          0\n" +
		"  eth0: 300       5    0    0    0     0          0         0 70       5    0    0    0     0       0          0\n" +
		"tap0:5 0 0 0 0 0 0 0 6 0\nbad: 1 2\n"
	if in, out := parseNetDev(dev); in != 305 || out != 76 {
		t.Errorf("%d bytes in and %d out, want 305 and 76", in, out)
	}
}
