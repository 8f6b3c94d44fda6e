package startd

import (
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// zone is the machine's time zone, which may change: a program learns that once, when it starts. Whoever asks has the file
// looked at, once a minute at most.
type zone struct {
	file string // that says what the zone is; "" for what the program knows

	mu     sync.Mutex // guards what follows
	looked time.Time
	was    fs.FileInfo // of the file that loc is of
	loc    *time.Location
}

// zoneFile names the file with the machine's time zone, or "" where there is none or the environment names another zone.
func zoneFile() string {
	const file = "/etc/localtime"
	if tz, set := os.LookupEnv("TZ"); set && strings.TrimPrefix(tz, ":") != file {
		return ""
	}
	return file
}

// local gives an instant in the machine's time zone. While its file cannot be read, that is the zone of before.
func (z *zone) local(now time.Time) time.Time {
	if z.file == "" {
		return now.Local()
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if since := now.Sub(z.looked); since < 0 || since >= time.Minute {
		z.looked = now
		z.look()
	}
	if z.loc == nil {
		return now.Local()
	}
	return now.In(z.loc)
}

func (z *zone) look() {
	is, err := os.Stat(z.file)
	if err != nil || z.was != nil && os.SameFile(is, z.was) && is.ModTime().Equal(z.was.ModTime()) && is.Size() == z.was.Size() {
		return
	}
	data, err := os.ReadFile(z.file)
	if err != nil {
		return
	}
	if loc, err := time.LoadLocationFromTZData("Local", data); err == nil {
		z.was, z.loc = is, loc
	}
}
