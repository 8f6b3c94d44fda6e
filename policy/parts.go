package policy

import (
	"fmt"
	"math"
	"strings"

	"skua/internal/why"
	"skua/policy/classad"
)

// Parts is an amount of what jobs take of a machine, as ads count it.
type Parts struct {
	Cpus   int64 `json:"cpus"`
	Memory int64 `json:"memory"` // MiB
	Disk   int64 `json:"disk"`   // KiB
	GPUs   int64 `json:"gpus,omitempty"`
}

// The steps in which a share of memory and disk is cut, HTCondor's MODIFY_REQUEST_EXPR_REQUESTMEMORY and
// MODIFY_REQUEST_EXPR_REQUESTDISK.
const (
	memoryStep = 128  // MiB
	diskStep   = 1024 // KiB
)

// mostParts bounds what an ad can say, so that sums stay numbers.
const mostParts = 1 << 50

// PartsOf reads what a slot has. What it does not tell is none.
func PartsOf(slot *classad.Ad) Parts { return partsIn(slot, "") }

// WholeOf reads what a partitionable slot had before anything was taken.
func WholeOf(slot *classad.Ad) Parts { return partsIn(slot, "TotalSlot") }

// RequestOf reads what a job asks of a partitionable slot, whose ad may be nil: a cpu at least, and a little
// memory and disk. That is rounded up to a whole number.
func RequestOf(job, slot *classad.Ad) Request {
	p := Parts{
		Cpus: amount(job, "RequestCpus", slot), Memory: amount(job, "RequestMemory", slot),
		Disk: amount(job, "RequestDisk", slot), GPUs: amount(job, "RequestGPUs", slot),
	}
	p.Cpus, p.Memory, p.Disk = max(p.Cpus, 1), max(p.Memory, 1), max(p.Disk, 1)
	r := Request{Parts: p}
	if e, ok := job.Lookup("RequestDisk"); ok {
		_, r.NamesDisk = e.Literal()
	}
	return r
}

// requests are the attributes that a [Request] is made of.
var requests = []string{"RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs"}

// RequestLooksBack reports whether what a job asks for may depend on the slot.
func RequestLooksBack(job *classad.Ad) bool {
	for _, name := range requests {
		e, ok := job.Lookup(name)
		if !ok {
			continue
		}
		if _, literal := e.Literal(); literal {
			continue
		}
		if len(e.ReferencesIn(job).Target) > 0 || strings.Contains(strings.ToLower(e.String()), "eval") {
			return true
		}
	}
	return false
}

func partsIn(ad *classad.Ad, prefix string) Parts {
	read := func(name string) int64 { return amount(ad, prefix+name, nil) }
	return Parts{Cpus: read("Cpus"), Memory: read("Memory"), Disk: read("Disk"), GPUs: read("GPUs")}
}

// amount reads a number that is not negative; 0 if there is none.
func amount(ad *classad.Ad, name string, target *classad.Ad) int64 {
	f, ok := ad.Eval(name, target).Real()
	if !ok || !(f > 0) {
		return 0
	}
	return int64(math.Ceil(min(f, mostParts)))
}

// Set writes the parts into a slot's ad.
func (p Parts) Set(slot *classad.Ad) { p.set(slot, "") }

// SetWhole writes what the slot has in all.
func (p Parts) SetWhole(slot *classad.Ad) { p.set(slot, "TotalSlot") }

func (p Parts) set(ad *classad.Ad, prefix string) {
	ad.SetInt(prefix+"Cpus", p.Cpus)
	ad.SetInt(prefix+"Memory", p.Memory)
	ad.SetInt(prefix+"Disk", p.Disk)
	ad.SetInt(prefix+"GPUs", p.GPUs)
}

// Plus adds up.
func (p Parts) Plus(q Parts) Parts {
	return Parts{p.Cpus + q.Cpus, p.Memory + q.Memory, p.Disk + q.Disk, p.GPUs + q.GPUs}
}

// Minus is what is left of p without q. Where that is less than nothing, as when a policy grants less than
// before, it is nothing.
func (p Parts) Minus(q Parts) Parts {
	return Parts{max(0, p.Cpus-q.Cpus), max(0, p.Memory-q.Memory), max(0, p.Disk-q.Disk), max(0, p.GPUs-q.GPUs)}
}

// Request is what a job asks of a partitionable slot.
type Request struct {
	Parts
	NamesDisk bool // its user has said how much; else it is what its files take at the start
}

// Fits reports whether there is as much left as the job asks for.
func (r Request) Fits(left Parts) bool {
	return r.Cpus <= left.Cpus && r.Memory <= left.Memory && r.Disk <= left.Disk && r.GPUs <= left.GPUs
}

// Carve gives the job's share of a slot of which so much is left of the whole: what it asks for, memory and
// disk rounded up to the next step as far as there is so much. It is false when there is not what it asks for.
//
// Skua holds a job that takes more disk than it has. One whose user has not said how much gets as much of
// the disk as it has of the cpus, rather than what its files take at the start.
func (r Request) Carve(left, whole Parts) (share Parts, ok bool) {
	if !r.Fits(left) {
		return Parts{}, false
	}
	disk := stepUp(r.Disk, diskStep)
	if !r.NamesDisk && whole.Cpus > 0 {
		disk = max(disk, whole.Disk/whole.Cpus*r.Cpus)
	}
	return Parts{
		Cpus: r.Cpus, Memory: min(stepUp(r.Memory, memoryStep), left.Memory), Disk: min(disk, left.Disk), GPUs: r.GPUs,
	}, true
}

func stepUp(n, step int64) int64 { return (n + step - 1) / step * step }

// Lacks gives what there is less left of than the job asks for.
func (r Request) Lacks(left Parts) []why.Lack {
	var all []why.Lack
	for _, l := range []struct {
		what        why.Resource
		asked, left int64
	}{
		{why.Cpus, r.Cpus, left.Cpus},
		{why.Memory, r.Memory, left.Memory},
		{why.Disk, r.Disk, left.Disk},
		{why.GPUs, r.GPUs, left.GPUs},
	} {
		if l.asked > l.left {
			all = append(all, why.Lack{What: l.what, Asked: float64(l.asked), Left: float64(l.left)})
		}
	}
	return all
}

// Attributes of partitionable slots and of those that are carved out of them. Apart from the bound they
// are HTCondor's.
const (
	AttrPartitionable   = "PartitionableSlot"
	AttrDynamic         = "DynamicSlot"
	AttrDynamicSlots    = "NumDynamicSlots"
	AttrMaxDynamicSlots = "MaxDynamicSlots" // how many jobs there may be at a time
)

// PartitionAd makes a machine's only slot of an ad of [Policy.SlotAd]: a partitionable one, of which jobs take
// what they ask for, most at a time. used is what they have, and jobs how many have it.
func PartitionAd(ad *classad.Ad, used Parts, jobs, most int) {
	whole := PartsOf(ad)
	whole.SetWhole(ad)
	whole.Minus(used).Set(ad)
	ad.SetBool(AttrPartitionable, true)
	ad.SetString("SlotType", "Partitionable")
	ad.SetInt(AttrDynamicSlots, int64(jobs))
	ad.SetInt(AttrMaxDynamicSlots, int64(most))
	ad.SetInt("TotalSlots", int64(1+jobs))
	ad.Set("WithinResourceLimits", withinParts)
}

// DynamicAd makes a slot that has been carved out of such a machine of the same ad.
func DynamicAd(ad *classad.Ad, share Parts, number, jobs int) {
	share.SetWhole(ad)
	share.Set(ad)
	ad.SetBool(AttrDynamic, true)
	ad.SetString("SlotType", "Dynamic")
	ad.SetInt("DSlotID", int64(number))
	ad.SetInt("TotalSlots", int64(1+jobs))
	ad.Set("WithinResourceLimits", withinParts)
}

// withinParts is for slots that say how many GPUs they have.
var withinParts = mustParse(withinLimits.String() + ` && (TARGET.RequestGPUs > MY.GPUs) =!= true`)

// PartitionName names the slot that a machine's dynamic slots are carved out of, and DynamicName those.
func PartitionName(machine string) string { return "slot1@" + machine }

// DynamicName names a dynamic slot by its number, from 1 on.
func DynamicName(number int, machine string) string {
	return fmt.Sprintf("slot1_%d@%s", number, machine)
}

// ParentName names the slot that a dynamic slot was carved out of; a slot of another kind is its own.
func ParentName(slot string) string {
	own, machine, ok := strings.Cut(slot, "@")
	parent, _, dynamic := strings.Cut(own, "_")
	if !ok || !dynamic {
		return slot
	}
	return parent + "@" + machine
}

// Taken is the ad of a partitionable slot as it is once further jobs have taken parts of it.
func Taken(slot *classad.Ad, parts Parts, jobs int) *classad.Ad {
	ad := classad.NewAd()
	ad.SetParent(slot)
	PartsOf(slot).Minus(parts).Set(ad)
	n, _ := slot.Int(AttrDynamicSlots)
	ad.SetInt(AttrDynamicSlots, n+int64(jobs))
	return ad
}

// Emptied is the ad of a partitionable slot as it is when no job has anything of it.
func Emptied(slot *classad.Ad) *classad.Ad {
	ad := classad.NewAd()
	ad.SetParent(slot)
	WholeOf(slot).Set(ad)
	ad.SetInt(AttrDynamicSlots, 0)
	return ad
}

// HasRoom reports whether a partitionable slot may have another job, however little that asks for.
func HasRoom(slot *classad.Ad) bool {
	return JobsLeft(slot) > 0 && (Request{Parts: Parts{Cpus: 1, Memory: 1, Disk: 1}}).Fits(PartsOf(slot))
}

// JobsLeft is how many more jobs a partitionable slot may have.
func JobsLeft(slot *classad.Ad) int64 {
	has, _ := slot.Int(AttrDynamicSlots)
	most, _ := slot.Int(AttrMaxDynamicSlots)
	return most - has
}
