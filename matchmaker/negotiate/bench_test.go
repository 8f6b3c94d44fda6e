package negotiate

import (
	"fmt"
	"testing"

	"skua/internal/job"
	"skua/policy/classad"
)

// cluster is the waiting procs of one cluster of ann's, of which the ads differ in their arguments.
func cluster(t testing.TB, number, procs int, attrs string) Batch {
	t.Helper()
	j := submitted(t, attrs)
	j.ID = job.ID{Cluster: number}
	ad := j.CurrentAd()
	return Batch{
		Cluster: number, Procs: []Range{{0, procs}}, User: "u1", Ad: ad, Varies: []string{"Args"},
		AdOf: func(proc int) *classad.Ad {
			own := classad.NewAd()
			own.SetParent(ad)
			own.SetInt("ProcId", int64(proc))
			own.SetString("Args", fmt.Sprint("-seed ", proc))
			return own
		},
	}
}

// pool is machines of all sizes, most of them free.
func pool(t testing.TB, n int) []Slot {
	t.Helper()
	var all []Slot
	for i := range n {
		status := Free
		if i%10 == 0 {
			status = Owner
		}
		all = append(all, desk(t, fmt.Sprintf("desk%05d", i), status, "", fmt.Sprintf(
			"TotalMemory = %d\nTotalDisk = %d\nKeyboardIdle = %d", 4000+1000*(i%13), 100_000_000+i, 2000+i)))
	}
	return all
}

func BenchmarkCycle(b *testing.B) {
	for _, size := range []struct{ slots, clusters, procs, groups int }{
		{0, 1, 100_000, 1},
		{100, 1, 100_000, 1},
		{100, 1000, 100, 1},
		{100, 1000, 100, 100},
		{1000, 1, 1000, 1},
		{10_000, 100, 1000, 100},
	} {
		b.Run(fmt.Sprintf("slots=%d/jobs=%d/clusters=%d/groups=%d", size.slots, size.clusters*size.procs, size.clusters, size.groups), func(b *testing.B) {
			s := Snapshot{Now: noon, Slots: pool(b, size.slots), Memo: new(Memo)}
			for i := range size.clusters {
				s.Jobs = append(s.Jobs, cluster(b, i+1, size.procs, fmt.Sprintf("RequestMemory = %d", 1000+10*(i%size.groups))))
			}
			for b.Loop() {
				Cycle(s)
			}
		})
	}
}

// BenchmarkCycleOfTable has jobs that ask for different amounts of memory, by a column of their table.
func BenchmarkCycleOfTable(b *testing.B) {
	for _, known := range []bool{true, false} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			s := Snapshot{Now: noon, Slots: pool(b, 100), Memo: new(Memo)}
			batch := cluster(b, 1, 100_000, "")
			base := batch.Ad
			batch.Varies = append(batch.Varies, "RequestMemory")
			batch.AdOf = func(proc int) *classad.Ad {
				own := classad.NewAd()
				own.SetParent(base)
				own.SetInt("ProcId", int64(proc))
				own.SetInt("RequestMemory", int64(1000+proc%50))
				return own
			}
			if known {
				batch.Table = "table"
			}
			s.Jobs = []Batch{batch}
			Cycle(s)
			for b.Loop() {
				Cycle(s)
			}
		})
	}
}

// BenchmarkCycleOfOnes has each job in a batch of its own, as those that have run before are.
func BenchmarkCycleOfOnes(b *testing.B) {
	const procs = 100_000
	s := Snapshot{Now: noon, Slots: pool(b, 100), Memo: new(Memo)}
	j := submitted(b, "")
	for proc := range procs {
		j.ID.Proc = proc
		j.Starts = proc % 3
		s.Jobs = append(s.Jobs, Batch{
			Cluster: j.ID.Cluster, Procs: []Range{{proc, proc + 1}}, User: "u1", Ad: j.CurrentAd(),
		})
	}
	for b.Loop() {
		Cycle(s)
	}
}

// BenchmarkWhy asks for the reason of every waiting job, as a list of the queue does.
func BenchmarkWhy(b *testing.B) {
	s := Snapshot{Now: noon, Slots: pool(b, 1000), Jobs: []Batch{cluster(b, 1, 100_000, "RequestMemory = 99999")}}
	plan := Cycle(s)
	for b.Loop() {
		for proc := range 100_000 {
			plan.Why(job.ID{Cluster: 1, Proc: proc})
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	j := submitted(b, "RequestMemory = 99999")
	s := Snapshot{Now: noon, Slots: pool(b, 1000), Jobs: []Batch{cluster(b, j.ID.Cluster, 100_000, "RequestMemory = 99999")}}
	for b.Loop() {
		Explain(s, j)
	}
}
