package client

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	renameio "github.com/google/renameio/v2/maybe"

	"skua/internal/diag"
)

// SubmitHost is the attribute of a job's ad that says from where it was submitted, as [Home.HostID]
// does: there its courier writes the log and puts the outputs.
const SubmitHost = "SkuaSubmitHost"

// Home is where a user's Skua keeps what it must remember.
//
//	member/           the user's place in a pool
//	pool/             the personal pool that skua up runs
//	hosts/<machine>/  what belongs to one machine, since home directories are often shared
type Home string

// UserHome is $SKUA_HOME, or else the directory skua where the system keeps its users' settings.
func UserHome() (Home, error) {
	if dir := os.Getenv("SKUA_HOME"); dir != "" {
		dir, err := filepath.Abs(dir)
		return Home(dir), err
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &diag.Problem{
			What: "there is no place for settings: " + err.Error(),
			Hint: "set HOME, or SKUA_HOME to a directory of your own", Err: err,
		}
	}
	return Home(filepath.Join(dir, "skua")), nil
}

// Member is the directory of the user's membership.
func (h Home) Member() string { return filepath.Join(string(h), "member") }

// Pool is the directory of the personal pool.
func (h Home) Pool() string {
	if dir, err := os.UserHomeDir(); err == nil && os.Getenv("SKUA_HOME") == "" {
		return filepath.Join(dir, ".local", "share", "skua")
	}
	return filepath.Join(string(h), "pool")
}

// Host is the directory of what belongs to this machine.
func (h Home) Host() string { return filepath.Join(string(h), "hosts", machine()) }

// HostID names this machine's place in this home: a random word, made when it is first asked for.
func (h Home) HostID() (string, error) {
	path := filepath.Join(h.Host(), "id")
	text, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(text)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the name of this host: %w", err)
	}
	if err := os.MkdirAll(h.Host(), 0o700); err != nil {
		return "", fmt.Errorf("make the directory of this host: %w", err)
	}
	id := strings.ToLower(rand.Text())
	// Two first submits at once must agree. A link, unlike a rename, does not replace what is there.
	tmp := path + "." + id
	if err := renameio.WriteFile(tmp, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the name of this host: %w", err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); errors.Is(err, fs.ErrExist) {
		return h.HostID()
	} else if err != nil {
		return "", fmt.Errorf("keep the name of this host: %w", err)
	}
	return id, nil
}

// machine tells the machines that share a home directory apart. It stays the same when a laptop's name
// changes with its network.
var machine = sync.OnceValue(func() string {
	name, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(name) == 0 {
		host, _ := os.Hostname()
		name = []byte(host)
	}
	// The machine's own id is not for everyone to read in directory names.
	sum := sha256.Sum256(append([]byte("skua "), name...))
	return hex.EncodeToString(sum[:6])
})
