package startd

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/policy/classad"
)

// Inputs that the slot's disk cannot hold are known before any is fetched. A job that has asked for what it brings is
// not held for it.
func TestInputsAndTheDisk(t *testing.T) {
	const gb = int64(1e9)
	for _, tt := range []struct {
		name   string
		disk   int64 // of the slot; 0 for no limit
		own    int64 // max_transfer_input_mb in bytes; -1 for none
		ad     string
		inputs []int64
		left   int64  // for URLs
		code   int    // of a hold
		want   string // in the error
	}{
		{"they fit", 20 * gb, -1, "RequestDisk = 1", []int64{5 * gb, 7 * gb}, 8 * gb, 0, ""},
		{"exactly", 20 * gb, -1, "RequestDisk = 1", []int64{20 * gb}, 0, 0, ""},
		{"nobody knows the disk", 0, -1, "RequestDisk = 1", []int64{5 * gb}, math.MaxInt64 - 5*gb, 0, ""},
		{
			"more than the disk", 20 * gb, -1, "RequestDisk = 1",
			[]int64{60 * gb, gb},
			0, job.HoldOutOfResources,
			"the job's inputs are 61.0 GB, and slot2@desk allows 20.0 GB of disk; request_disk asks for a slot with more",
		},
		{
			"sizes that make no sum", 20 * gb, -1, "RequestDisk = 1",
			[]int64{math.MaxInt64, math.MaxInt64},
			0, job.HoldOutOfResources,
			"and slot2@desk allows 20.0 GB of disk",
		},
		{
			"its own bound is the tighter", 20 * gb, 2 * gb, "RequestDisk = 1",
			[]int64{60 * gb},
			0, job.HoldInputTooLarge,
			"the job's inputs are 60.0 GB, and its max_transfer_input_mb allows 2.0 GB",
		},
		{
			"its own bound is the wider", 20 * gb, 100 * gb, "RequestDisk = 1",
			[]int64{60 * gb},
			0, job.HoldOutOfResources,
			"the job's inputs are 60.0 GB, and slot2@desk allows 20.0 GB of disk",
		},
		{"within both", 20 * gb, 2 * gb, "RequestDisk = 1", []int64{gb}, gb, 0, ""},
		{
			"it asked for them, and the slot has become smaller", 20 * gb, -1, "RequestDisk = DiskUsage\nDiskUsage = 59000000",
			[]int64{60 * gb},
			0, 0,
			"the job asked for 60.4 GB of disk, and slot2@desk has 20.0 GB now",
		},
		{"it asked for more, and they fit", 20 * gb, -1, "RequestDisk = 30000000", []int64{20 * gb}, 0, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ad, err := classad.ParseOldAd(tt.ad)
			if err != nil {
				t.Fatal(err)
			}
			tn := &tenant{k: bareDaemon(t).keepers[1], log: slog.New(slog.DiscardHandler), limits: limits{Disk: tt.disk}}
			tn.offer.Ad, tn.cmd.Transfers.MaxIn, tn.cmd.Runtime = ad, tt.own, "system.tar"
			for i, n := range tt.inputs {
				tn.offer.Inputs = append(tn.offer.Inputs, job.File{Name: string(rune('a' + i)), Size: n})
			}
			tn.offer.Inputs = append(tn.offer.Inputs, job.File{Name: job.RuntimeFile, Size: 80 * gb}) // which lies elsewhere
			left, err := tn.inputsLeft()
			var held *holdError
			errors.As(err, &held)
			switch {
			case tt.want == "" && (err != nil || left != tt.left):
				t.Errorf("%d bytes are left (%v), want %d", left, err, tt.left)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			case tt.code != 0 && (held == nil || held.code != tt.code):
				t.Errorf("%v is no hold with code %d", err, tt.code)
			case tt.code == 0 && held != nil:
				t.Errorf("the job is held: %v", err)
			case tt.code == job.HoldOutOfResources && held.subcode != job.HoldOutOfDisk:
				t.Errorf("the hold has the subcode %d", held.subcode)
			}
		})
	}
}

// What a submitter says of the size of a file is all that is fetched of it.
func TestInputsThatAreLargerThanTheySay(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", inputTime, bytes.NewReader(content))
	}))
	defer web.Close()
	client, err := transfer.New(transfer.Config{BaseURL: web.URL, HTTP: web.Client()})
	if err != nil {
		t.Fatal(err)
	}
	d := bareDaemon(t)
	d.cfg.Files = &Storage{Client: client}
	for _, tt := range []struct {
		name string
		says int64
		held bool
	}{{"as large as it says", int64(len(content)), false}, {"larger", 1000, true}} {
		dir := t.TempDir()
		tn := &tenant{k: d.keepers[1], log: slog.New(slog.DiscardHandler), limits: limits{Disk: 10 << 20}}
		tn.cmd.Transfers.MaxIn = -1
		tn.offer.Inputs = []job.File{{Name: "data", Digest: blob.Sum(content), Size: tt.says}}
		err := tn.stageIn(t.Context(), dir)
		root, rerr := os.OpenRoot(dir)
		if rerr != nil {
			t.Fatal(rerr)
		}
		defer root.Close()
		f, ferr := root.Open("data")
		if ferr != nil {
			t.Fatal(ferr)
		}
		defer f.Close()
		n, _ := io.Copy(io.Discard, f)
		var held *holdError
		switch is := errors.As(err, &held); {
		case tt.held && (!is || held.code != job.HoldTransferInput || !strings.Contains(held.reason, "input data is not what was submitted, a file of 1.0 kB")):
			t.Errorf("%s: %v, want a hold", tt.name, err)
		case tt.held && n > tt.says:
			t.Errorf("%s: %d bytes are written", tt.name, n)
		case !tt.held && (err != nil || n != tt.says):
			t.Errorf("%s: %d bytes are written (%v)", tt.name, n, err)
		}
	}
}

// A job whose input the matchmaker does not have is held: no machine will find it.
func TestInputThatIsGone(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	client, err := transfer.New(transfer.Config{BaseURL: web.URL, HTTP: web.Client()})
	if err != nil {
		t.Fatal(err)
	}
	d := bareDaemon(t)
	d.cfg.Files = &Storage{Client: client}
	tn := &tenant{k: d.keepers[1], log: slog.New(slog.DiscardHandler), limits: limits{Disk: 10 << 20}}
	tn.cmd.Transfers.MaxIn = -1
	tn.offer.Inputs = []job.File{{Name: "data", Digest: blob.Sum([]byte("data")), Size: 4}}
	var held *holdError
	if err := tn.stageIn(t.Context(), t.TempDir()); !errors.As(err, &held) || held.code != job.HoldTransferInput || !strings.Contains(held.reason, "does not have the input data") {
		t.Errorf("%v, want a hold that names the input", err)
	}
}

func TestAddressesOfTheMachineItself(t *testing.T) {
	var interfaces []net.Addr
	for _, s := range []string{"127.0.0.1/8", "192.0.2.5/24", "2001:db8::5/64"} {
		ip, ipnet, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		interfaces = append(interfaces, &net.IPNet{IP: ip, Mask: ipnet.Mask})
	}
	for address, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": true, "169.254.1.1": true, "fe80::1": true, "224.0.0.1": true,
		"192.0.2.5": true, "::ffff:192.0.2.5": true, "2001:db8::5": true,
		"192.0.2.6": false, "2001:db8::6": false, "198.51.100.1": false,
	} {
		if got := itself(netip.MustParseAddr(address).Unmap(), interfaces); got != want {
			t.Errorf("%s is the machine itself: %v, want %v", address, got, want)
		}
	}
}
