package classad

import (
	"fmt"
	"strings"
	"testing"
)

// machineAd is a slot's ad of 150 attributes, as the agents advertise it.
func machineAd(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `MyType = "Machine"
Name = "slot1@desk%d.example.org"
Machine = "desk%d.example.org"
Arch = "X86_64"
OpSys = "LINUX"
OpSysMajorVer = 12
Memory = %d
Cpus = %d
Disk = 9000000
KFlops = %d
LoadAvg = 0.05
CondorLoadAvg = 0.0
KeyboardIdle = 1900
State = "Unclaimed"
Activity = "Idle"
HasFileTransfer = true
START = (KeyboardIdle > 15 * 60) && ((LoadAvg - CondorLoadAvg) <= 0.3 || (State != "Unclaimed" && State != "Owner"))
WithinResourceLimits = MY.Cpus >= TARGET.RequestCpus && MY.Memory >= TARGET.RequestMemory
Requirements = START && WithinResourceLimits
Rank = (TARGET.Owner == "mira") * 10
`, i, i, 2048+i%8*2048, 1+i%16, 1000000+i)
	for k := 20; k < 150; k++ {
		fmt.Fprintf(&b, [...]string{
			"ExtraNumber%d = 12345\n", "ExtraText%d = \"some text of a usual length\"\n", "ExtraReal%d = 1.25\n", "ExtraExpr%d = ifThenElse(Cpus > 1, Memory / 2, undefined)\n",
		}[k%4], k)
	}
	return b.String()
}

const jobAd = `MyType = "Job"
Owner = "mira"
RequestCpus = 4
RequestMemory = ifThenElse(MemoryUsage =!= undefined, MemoryUsage, 2048)
RequestDisk = DiskUsage
DiskUsage = 150000
Requirements = (TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.Disk >= RequestDisk) && (TARGET.Memory >= RequestMemory) && (TARGET.Cpus >= RequestCpus) && TARGET.HasFileTransfer
Rank = TARGET.KFlops
`

func BenchmarkParse(b *testing.B) {
	old := machineAd(1)
	ad := mustAd(b, old)
	b.Run("old/attrs=150", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustAd(b, old)
		}
	})
	text := ad.String()
	b.Run("new/attrs=150", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustAd(b, text)
		}
	})
	data, _ := ad.MarshalJSON()
	b.Run("json/attrs=150", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := NewAd().UnmarshalJSON(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	job := mustAd(b, jobAd)
	for _, n := range []int{1, 1000} {
		machines := make([]*Ad, n)
		for i := range machines {
			machines[i] = mustAd(b, machineAd(i+3))
		}
		b.Run(fmt.Sprintf("machines=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				Match(job, machines[i%n])
			}
		})
	}
}
