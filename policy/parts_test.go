package policy

import (
	"reflect"
	"testing"

	"skua/internal/why"
	"skua/policy/classad"
)

func parsed(t testing.TB, text string) *classad.Ad {
	t.Helper()
	ad, err := classad.ParseOldAd(text)
	if err != nil {
		t.Fatal(err)
	}
	return ad
}

func TestRequestOf(t *testing.T) {
	slot := parsed(t, "Memory = 8000")
	for _, tt := range []struct {
		name, job string
		want      Request
	}{
		{"all is said", "RequestCpus = 2\nRequestMemory = 1000\nRequestDisk = 5000\nRequestGPUs = 1", Request{Parts{2, 1000, 5000, 1}, true}},
		{"nothing is said", "", Request{Parts{1, 1, 1, 0}, false}},
		{"nothing is wanted", "RequestCpus = 0\nRequestMemory = 0\nRequestDisk = 0", Request{Parts{1, 1, 1, 0}, true}},
		{"less than nothing", "RequestCpus = -3\nRequestMemory = -1\nRequestGPUs = -1", Request{Parts{1, 1, 1, 0}, false}},
		{"parts of one", "RequestCpus = 1.2\nRequestMemory = 0.5", Request{Parts{2, 1, 1, 0}, false}},
		{"what its files take", "DiskUsage = 700\nRequestDisk = DiskUsage", Request{Parts{1, 1, 700, 0}, false}},
		{"a part of the slot", "RequestMemory = TARGET.Memory / 4", Request{Parts{1, 2000, 1, 0}, false}},
		{"no number", `RequestCpus = "many"` + "\nRequestMemory = undefined\nRequestDisk = error", Request{Parts{1, 1, 1, 0}, true}},
		{"more than there can be", "RequestMemory = 9223372036854775807\nRequestCpus = 1.0E300\nRequestDisk = real(\"INF\")", Request{Parts{mostParts, mostParts, mostParts, 0}, false}},
		{"not even a number", "RequestCpus = real(\"NaN\")", Request{Parts{1, 1, 1, 0}, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := RequestOf(parsed(t, tt.job), slot); got != tt.want {
				t.Errorf("of %q: %+v, want %+v", tt.job, got, tt.want)
			}
		})
	}
}

func TestCarve(t *testing.T) {
	whole := Parts{Cpus: 4, Memory: 8000, Disk: 100_000, GPUs: 1}
	named := func(cpus, memory, disk, gpus int64) Request { return Request{Parts{cpus, memory, disk, gpus}, true} }
	for _, tt := range []struct {
		name  string
		left  Parts
		asks  Request
		want  Parts
		lacks []why.Lack
	}{
		{"memory and disk are rounded up", whole, named(1, 1000, 5000, 0), Parts{1, 1024, 5120, 0}, nil},
		{"what is a whole step stays", whole, named(2, 1024, 5120, 1), Parts{2, 1024, 5120, 1}, nil},
		{"the least", whole, named(1, 1, 1, 0), Parts{1, 128, 1024, 0}, nil},
		{"all", whole, named(4, 8000, 100_000, 1), whole, nil},
		{"rounded up as far as there is", Parts{1, 1010, 5001, 0}, named(1, 1000, 5000, 0), Parts{1, 1010, 5001, 0}, nil},
		{"nobody has said how much disk", whole, Request{Parts{2, 100, 10, 0}, false}, Parts{2, 128, 50_000, 0}, nil},
		{"as much disk as there is", Parts{2, 4000, 30_000, 0}, Request{Parts{2, 100, 10, 0}, false}, Parts{2, 128, 30_000, 0}, nil},
		{"its files take more than that", whole, Request{Parts{1, 100, 60_000, 0}, false}, Parts{1, 128, 60_416, 0}, nil},
		{"too few cpus", Parts{1, 8000, 100_000, 1}, named(2, 100, 100, 0), Parts{}, []why.Lack{{What: why.Cpus, Asked: 2, Left: 1}}},
		{"too little memory", Parts{4, 999, 100_000, 1}, named(1, 1000, 100, 0), Parts{}, []why.Lack{{What: why.Memory, Asked: 1000, Left: 999}}},
		{"no disk", Parts{4, 8000, 0, 1}, named(1, 1, 1, 0), Parts{}, []why.Lack{{What: why.Disk, Asked: 1, Left: 0}}},
		{"no GPU", Parts{4, 8000, 100_000, 0}, named(1, 1, 1, 1), Parts{}, []why.Lack{{What: why.GPUs, Asked: 1, Left: 0}}},
		{
			"of all too little",
			Parts{},
			named(8, 16_000, 200_000, 2),
			Parts{},
			[]why.Lack{{What: why.Cpus, Asked: 8}, {What: why.Memory, Asked: 16_000}, {What: why.Disk, Asked: 200_000}, {What: why.GPUs, Asked: 2}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.asks.Carve(tt.left, whole)
			if got != tt.want || ok != (tt.lacks == nil) {
				t.Errorf("of %+v: %+v (%v), want %+v", tt.left, got, ok, tt.want)
			}
			if !got.fitsIn(tt.left) {
				t.Errorf("%+v is more than there is left: %+v", got, tt.left)
			}
			if lacks := tt.asks.Lacks(tt.left); !reflect.DeepEqual(lacks, tt.lacks) {
				t.Errorf("it lacks %+v, want %+v", lacks, tt.lacks)
			}
		})
	}
}

func (p Parts) fitsIn(left Parts) bool { return Request{Parts: p}.Fits(left) }

func TestPartitionAd(t *testing.T) {
	p, err := Derive(File{Preset: Dedicated})
	if err != nil {
		t.Fatal(err)
	}
	facts := parsed(t, "TotalCpus = 4\nTotalMemory = 10000\nTotalDisk = 1000000\nGPUs = 2")
	job := func(text string) *classad.Ad { return parsed(t, text) }
	slot := p.SlotAd(facts, 1)
	PartitionAd(slot, Parts{Cpus: 1, Memory: 1024, Disk: 2048, GPUs: 1}, 1, 4)
	if got, want := PartsOf(slot), (Parts{3, 9000 - 1024, 900_000 - 2048, 1}); got != want {
		t.Errorf("%+v is left, want %+v", got, want)
	}
	if got, want := WholeOf(slot), (Parts{4, 9000, 900_000, 2}); got != want {
		t.Errorf("the whole is %+v, want %+v", got, want)
	}
	for text, want := range map[string]bool{
		"RequestCpus = 3": true, "RequestCpus = 4": false, "RequestMemory = 7976": true, "RequestMemory = 7977": false,
		"RequestDisk = 900000": false, "RequestGPUs = 1": true, "RequestGPUs = 2": false, "": true,
	} {
		if got := slot.Eval("WithinResourceLimits", job(text)).IsTrue(); got != want {
			t.Errorf("a job that says %q is within what is left: %v, want %v", text, got, want)
		}
	}
	if !HasRoom(slot) || JobsLeft(slot) != 3 {
		t.Errorf("room: %v, %d jobs", HasRoom(slot), JobsLeft(slot))
	}
	less := Taken(slot, Parts{Cpus: 3, Memory: 1000}, 1)
	if got, want := PartsOf(less), (Parts{0, 9000 - 2024, 900_000 - 2048, 1}); got != want || HasRoom(less) || JobsLeft(less) != 2 {
		t.Errorf("after another job %+v is left, want %+v", got, want)
	}
	if full := Taken(slot, Parts{Cpus: 1}, 3); HasRoom(full) {
		t.Error("a slot with as many jobs as it may have has room")
	}
	if got := PartsOf(Emptied(less)); got != WholeOf(slot) || JobsLeft(Emptied(less)) != 4 {
		t.Errorf("emptied it has %+v", got)
	}

	dynamic := p.SlotAd(facts, 1)
	DynamicAd(dynamic, Parts{2, 1024, 2048, 0}, 3, 2)
	if got, want := dynamic.Eval("WithinResourceLimits", job("RequestMemory = 1025")).IsTrue(), false; got != want {
		t.Error("a dynamic slot takes a job that asks for more than it has")
	}
	if kind, _ := dynamic.Str("SlotType"); kind != "Dynamic" || WholeOf(dynamic) != PartsOf(dynamic) {
		t.Errorf("the dynamic slot is %v", dynamic)
	}
}

func TestParentName(t *testing.T) {
	for slot, want := range map[string]string{
		DynamicName(12, "desk7"): "slot1@desk7", PartitionName("desk7"): "slot1@desk7", "slot2@desk7": "slot2@desk7",
		"slot1_2@a_b": "slot1@a_b", "slot1@a_b": "slot1@a_b", "slot1_2": "slot1_2", "": "",
	} {
		if got := ParentName(slot); got != want {
			t.Errorf("parent of %q is %q, want %q", slot, got, want)
		}
	}
}

// FuzzCarve: whatever a job says, it gets no more than there is and no less than it asks for.
func FuzzCarve(f *testing.F) {
	f.Add("RequestCpus = 2\nRequestMemory = 1000", int64(4), int64(8000), int64(100_000))
	f.Add("RequestDisk = DiskUsage\nDiskUsage = 9", int64(1), int64(1), int64(1))
	f.Fuzz(func(t *testing.T, text string, cpus, memory, disk int64) {
		job, err := classad.ParseOldAd(text)
		if err != nil {
			return
		}
		slot := classad.NewAd()
		Parts{cpus, memory, disk, 1}.Set(slot)
		left, r := PartsOf(slot), RequestOf(job, slot)
		share, ok := r.Carve(left, left)
		if ok != (len(r.Lacks(left)) == 0) {
			t.Errorf("%+v of %+v: carved %v, lacks %v", r, left, ok, r.Lacks(left))
		}
		if ok && (!share.fitsIn(left) || !r.Fits(share) || share.Cpus < 1 || share.Memory < 1 || share.Disk < 1) {
			t.Errorf("%+v of %+v gives %+v", r, left, share)
		}
	})
}
