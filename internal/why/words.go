package why

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Resource is a machine attribute of which jobs ask for some, by its ClassAd name.
type Resource string

// The resources whose units are known. Others are plain numbers.
const (
	Memory Resource = "Memory" // MiB
	Disk   Resource = "Disk"   // KiB
	Cpus   Resource = "Cpus"
	GPUs   Resource = "GPUs"
)

func (r Resource) noun() string {
	switch r {
	case Memory, Disk:
		return strings.ToLower(string(r))
	case Cpus:
		return "cpus"
	}
	return string(r)
}

// Amount writes so much of the resource for people: "7.8 GB", "4 cpus".
func (r Resource) Amount(n float64) string {
	switch r {
	case Memory:
		return size(n * (1 << 20))
	case Disk:
		return size(n * (1 << 10))
	case Cpus:
		if n == 1 {
			return "1 cpu"
		}
		return number(n) + " cpus"
	case GPUs:
		if n == 1 {
			return "1 GPU"
		}
		return number(n) + " GPUs"
	}
	return number(n)
}

// Neat gives the largest amount up to n that a person would write: whole halves of a GB, and so on.
func (r Resource) Neat(n float64) float64 {
	unit := map[Resource]float64{Memory: 1 << 20, Disk: 1 << 10}[r]
	if unit == 0 {
		return math.Floor(n)
	}
	bytes := n * unit
	for _, step := range []float64{16 << 30, 1 << 29, 64 << 20, 1 << 20} {
		if bytes >= 4*step { // at most a fifth is lost
			return math.Floor(bytes/step) * step / unit
		}
	}
	return math.Floor(n)
}

// size writes bytes in binary units by their usual names, as HTCondor's tools do.
func size(bytes float64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	i := 0
	for bytes >= 1024 && i < len(units)-1 {
		bytes /= 1024
		i++
	}
	if bytes < 10 || i >= 3 {
		return number(math.Round(bytes*10)/10) + " " + units[i]
	}
	return number(math.Round(bytes)) + " " + units[i]
}

// number writes n without needless digits.
func number(n float64) string {
	return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64)
}

// moment writes a time as seen from another: the day is left out when it is the same or when it is
// clear anyway.
func moment(at, now int64, loc *time.Location) string {
	if loc == nil {
		loc = time.UTC
	}
	t, from := time.Unix(at, 0).In(loc), time.Unix(now, 0).In(loc)
	y1, m1, d1 := t.Date()
	y2, m2, d2 := from.Date()
	switch away := t.Sub(from); {
	case y1 == y2 && m1 == m2 && d1 == d2:
		return t.Format("15:04")
	case away > 0 && away < 7*24*time.Hour || away < 0 && away > -6*24*time.Hour:
		return t.Format("Mon 15:04")
	case y1 == y2:
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// machines counts them: "1 machine meets", "3 machines meet".
func machines(n int, one, many string) string {
	if n == 1 {
		return "1 machine " + one
	}
	return fmt.Sprintf("%d machines %s", n, many)
}

// listed joins parts as prose does, naming at most so many.
func listed(parts []string, most int) string {
	if rest := len(parts) - most; rest > 0 {
		parts = append(parts[:most:most], fmt.Sprintf("%d more", rest))
	}
	last := len(parts) - 1
	if last < 1 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:last], ", ") + " and " + parts[last]
}

// shorten keeps a clause or a reason readable within a sentence.
func shorten(text string) string {
	const most = 120
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
