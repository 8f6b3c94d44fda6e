package server

import (
	"fmt"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/negotiate"
	"skua/policy/classad"
)

// BenchmarkCycleOfATable is a cycle over a pool in which one cluster with a table waits.
func BenchmarkCycleOfATable(b *testing.B) {
	const procs = 100_000
	for _, slots := range []int{10, 1000} {
		b.Run(fmt.Sprintf("procs=%d/slots=%d", procs, slots), func(b *testing.B) {
			s := benchServer(b, 0, "")
			for i := range slots {
				ad, err := classad.ParseAd(fmt.Sprintf(`[ Name = "slot1@m%d"; State = "Unclaimed"; Requirements = START; START = true; Memory = %d; OpSys = "LINUX"; Arch = "X86_64" ]`, i, 1000+i%7))
				if err != nil {
					b.Fatal(err)
				}
				m := fmt.Sprint("m", i)
				if err := s.slots.Update(job.AgentID(m), wire.Ad{V: wire.Version, Machine: m, Slots: []*classad.Ad{ad}}, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			common, err := classad.ParseAd(`[ Cmd = "/bin/sim"; RequestMemory = 100; Requirements = TARGET.Memory >= RequestMemory && TARGET.OpSys == "LINUX"; JobPrio = 0 ]`)
			if err != nil {
				b.Fatal(err)
			}
			ads := make([]*classad.Ad, procs)
			for i := range ads {
				ads[i] = classad.NewAd()
				ads[i].SetString("Args", fmt.Sprint(i))
			}
			data, err := job.EncodeTable(common, ads, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.cfg.Queue.Submit(b.Context(), &job.Submitted{User: "u1", Ad: common, Table: &job.TableRef{Inline: data, Count: procs}}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				snapshot := s.snapshot()
				if n := len(negotiate.Cycle(snapshot).Matches); n != slots {
					b.Fatal(n)
				}
			}
		})
	}
}
