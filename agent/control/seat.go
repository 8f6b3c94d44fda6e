package control

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Seats finds out who sits at the machine. The zero value looks at this one.
type Seats struct {
	Run string // where systemd-logind writes down the seats; "" means /run/systemd/seats
	TTY string // where the kernel names the active virtual terminal; "" means /sys/class/tty/tty0/active
	Dev string // where devices are; "" means /dev
}

// Users gives the users whose session is the active one of a seat of this machine, those of remote
// sessions left out. Where no logind keeps account of seats, it is the owner of the virtual terminal that
// the screen shows: login and display managers hand it to who logs in.
func (s Seats) Users() []uint32 {
	files, err := filepath.Glob(filepath.Join(orElse(s.Run, "/run/systemd/seats"), "*"))
	if err == nil && len(files) > 0 {
		var users []uint32
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // the seat has gone
			}
			if uid, ok := activeUser(text); ok && !slices.Contains(users, uid) {
				users = append(users, uid)
			}
		}
		return users
	}
	name, err := os.ReadFile(orElse(s.TTY, "/sys/class/tty/tty0/active"))
	if err != nil {
		return nil // a machine without a console
	}
	uid, ok := ownerOf(filepath.Join(orElse(s.Dev, "/dev"), filepath.Base(strings.TrimSpace(string(name)))))
	if !ok {
		return nil
	}
	return []uint32{uid}
}

// activeUser reads the file of a seat, lines KEY=VALUE, as sd_seat_get_active of libsystemd does.
func activeUser(text []byte) (uid uint32, ok bool) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		value, is := strings.CutPrefix(lines.Text(), "ACTIVE_UID=")
		if !is {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32)
		return uint32(n), err == nil
	}
	return 0, false
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
