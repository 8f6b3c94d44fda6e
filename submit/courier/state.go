package courier

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	renameio "github.com/google/renameio/v2/maybe"

	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/job"
)

// state is what a courier must remember between one page of events and the next. It is written as a
// whole when the logs are on disk.
type state struct {
	V       int                `json:"v"`
	Pos     uint64             `json:"pos"`               // events up to this one have been dealt with
	Anew    bool               `json:"anew,omitempty"`    // begun without knowing what had been dealt with
	Runs    map[job.ID]*run    `json:"runs,omitempty"`    // of jobs that have been offered and are not delivered
	Late    map[int]*late      `json:"late,omitempty"`    // by cluster: those of which jobs are yet to come
	Letters []letter           `json:"letters,omitempty"` // to be sent
	Waiting map[string][]entry `json:"waiting,omitempty"` // by path: what could not be written to a log yet
}

// entry is what one event of the queue adds to one log.
type entry struct {
	Seq    uint64           `json:"seq"`              // or noEvent
	Text   string           `json:"text"`             // as it stands in the log
	Events []eventlog.Event `json:"events,omitempty"` // in the place of Text: the first versions kept these
}

const (
	stateFile = "position.json"

	// stateVersion is the form of the file.
	//
	//   - 1: first release
	stateVersion = 1
)

// loadState reads the state kept in dir; without one a courier begins with the first event.
func loadState(dir string) (*state, error) {
	path := filepath.Join(dir, stateFile)
	s := &state{V: stateVersion}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Anew = true
	case err != nil:
		return nil, fmt.Errorf("read the courier's position: %w", err)
	default:
		if err := json.Unmarshal(data, s); err != nil || s.V != stateVersion {
			return nil, &diag.Problem{
				What: path + " is damaged or was written by a newer version",
				Hint: "remove it: the courier then begins with the first event, and writes nothing twice into logs that are still there",
				Err:  err,
			}
		}
	}
	if s.Runs == nil {
		s.Runs = map[job.ID]*run{}
	}
	if s.Late == nil {
		s.Late = map[int]*late{}
	}
	for _, entries := range s.Waiting {
		for i, e := range entries {
			for _, ev := range e.Events {
				entries[i].Text += ev.String()
			}
			entries[i].Events = nil
		}
	}
	return s, nil
}

func (s *state) save(dir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keep the courier's position: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, stateFile), data, 0o600); err != nil {
		return fmt.Errorf("keep the courier's position: %w", err)
	}
	return nil
}

// Reached reports whether the courier whose directory is dir has dealt with the event numbered seq: what that
// adds to logs is written, and the streams of jobs that it held are in place if that could be done at once.
func Reached(dir string, seq uint64) bool {
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return false
	}
	var s struct {
		Pos uint64 `json:"pos"`
	}
	return json.Unmarshal(data, &s) == nil && s.Pos >= seq
}

// Begun reports whether the courier whose directory is dir has a position, or was told where to [Begin].
func Begun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stateFile))
	return err == nil
}

// Begin says that the first jobs are submitted from this host by the event numbered seq, or a later one, so that its
// first courier, whose directory is dir, need not read all that the user has ever done elsewhere.
func Begin(dir string, seq uint64) error {
	path := filepath.Join(dir, stateFile)
	if Begun(dir) || seq == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the courier's directory: %w", err)
	}
	data, err := json.Marshal(state{V: stateVersion, Pos: seq - 1})
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".begin-*")
	if err != nil {
		return fmt.Errorf("keep the courier's position: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		// Unlike a rename, a link does not replace the position of a courier that has begun meanwhile.
		if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("keep the courier's position: %w", err)
	}
	return nil
}
