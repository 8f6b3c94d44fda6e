package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/submitfile"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
)

// slowService moves any file in as long as it is told to. A capability is the time when it was given, and good for an hour.
type slowService struct {
	content map[blob.Digest]string
	takes   time.Duration
	cut     int  // so many moves are cut when they are over, and ask whether they may go on
	refuses bool // everything
	moved   []blob.Digest
	asked   int
}

var errCut = errors.New("cut")

func (s *slowService) move(capability string, d blob.Digest) error {
	s.asked++
	check := func() error {
		given, err := time.Parse(time.RFC3339Nano, capability)
		if err != nil || s.refuses || time.Since(given) >= time.Hour {
			return fmt.Errorf("move %s: %w", d.Short(), transfer.ErrDenied)
		}
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	time.Sleep(s.takes)
	if s.cut > 0 {
		s.cut--
		if err := check(); err != nil {
			return err
		}
		return errCut
	}
	s.moved = append(s.moved, d)
	return nil
}

func (s *slowService) Put(_ context.Context, capability string, d blob.Digest, _ int64, _ io.ReaderAt, _ transfer.Progress) error {
	return s.move(capability, d)
}

func (s *slowService) GetFile(_ context.Context, capability string, d blob.Digest, path string, mode fs.FileMode, _ transfer.Progress) (int64, error) {
	if err := s.move(capability, d); err != nil {
		return 0, err
	}
	return int64(len(s.content[d])), os.WriteFile(path, []byte(s.content[d]), mode)
}

func (s *slowService) Bytes(context.Context, string, blob.Digest, int64) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// client gives a client of the service and of a matchmaker that has one job with these outputs.
func (s *slowService) client(t *testing.T, ad *classad.Ad, outputs []job.File) *Client {
	t.Helper()
	hub := bus.NewMemory()
	matchmaker := hub.Connect("matchmaker")
	_, err := matchmaker.Subscribe(wire.UserSubject("u1", wire.VerbQuery), func(m bus.Msg) {
		q, err := wire.Decode[wire.Query](m.Data)
		if err != nil {
			t.Error(err)
		}
		res := wire.QueryResult{V: wire.Version, Capability: time.Now().Format(time.RFC3339Nano)}
		if q.Kind == wire.QueryFetch && !slices.Contains(q.Select.Jobs, noJobs.Jobs[0]) {
			row, err := json.Marshal(wire.JobRow{ID: job.ID{Cluster: 1}, Ad: ad, Outputs: outputs})
			if err != nil {
				t.Error(err)
			}
			res.Rows = []json.RawMessage{row}
		}
		data, err := wire.Encode(res)
		if err == nil {
			err = m.Reply(data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{User: "u1", Conn: hub.Connect("user"), Files: func() (Files, error) { return s, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); matchmaker.Close() })
	return c
}

// write puts the service's content into files of one job.
func (s *slowService) write(t *testing.T, dir string) []submitfile.Proc {
	t.Helper()
	p := submitfile.Proc{Ad: adOf(t, dir, "TransferExecutable = false")}
	for d, text := range s.content {
		if err := os.WriteFile(filepath.Join(dir, d.Short()), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p.Inputs = append(p.Inputs, d.Short())
	}
	return []submitfile.Proc{p}
}

// TestMovesOutlastACapability: neither many files nor one that takes long fail because a capability ends.
func TestMovesOutlastACapability(t *testing.T) {
	for _, tt := range []struct {
		name    string
		service slowService
		want    error
		asked   int
	}{
		{"soon done", slowService{takes: time.Second}, nil, 4},
		{"long in all", slowService{takes: 25 * time.Minute}, nil, 4},
		{"long, each", slowService{takes: 3 * time.Hour}, nil, 4},
		{"cut when it has ended", slowService{takes: 90 * time.Minute, cut: 3}, nil, 7},
		{"cut for another reason", slowService{takes: time.Minute, cut: 1}, errCut, 1},
		{"refused whatever is shown", slowService{refuses: true}, transfer.ErrDenied, 2},
	} {
		for _, way := range []string{"fetch", "submit"} {
			t.Run(way+" "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, dir := tt.service, t.TempDir()
					s.content = map[blob.Digest]string{}
					var outputs []job.File
					for i := range 4 {
						text := strings.Repeat(fmt.Sprint(i), job.MaxInline+1)
						d := blob.Sum([]byte(text))
						s.content[d] = text
						outputs = append(outputs, job.File{Name: fmt.Sprint("f", i), Size: int64(len(text)), Digest: d, Mode: 0o644})
					}
					c := s.client(t, adOf(t, dir, ""), outputs)
					var err error
					if way == "fetch" {
						_, err = c.Fetch(t.Context(), job.ID{Cluster: 1}, "", nil)
					} else {
						_, err = c.Prepare(t.Context(), &submitfile.Submission{Cluster: classad.NewAd(), Procs: s.write(t, dir)}, nil)
					}
					if !errors.Is(err, tt.want) {
						t.Errorf("it ended with %v, want %v", err, tt.want)
					}
					if s.asked != tt.asked || err == nil && len(s.moved) != 4 {
						t.Errorf("the service was asked %d times and moved %d files, want %d times", s.asked, len(s.moved), tt.asked)
					}
				})
			})
		}
	}
}

// TestFetchGoesOnAfterWholeFiles: what an earlier fetch has put in place is not loaded again.
func TestFetchGoesOnAfterWholeFiles(t *testing.T) {
	dir := t.TempDir()
	s := &slowService{content: map[blob.Digest]string{}}
	var outputs []job.File
	for _, name := range []string{"whole", "program", "changed", "shorter", "linked", "missing"} {
		d := blob.Sum([]byte(name))
		s.content[d] = name
		f := job.File{Name: name, Size: int64(len(name)), Digest: d, Mode: 0o644}
		if name == "program" {
			f.Mode = 0o755
		}
		outputs = append(outputs, f)
	}
	for name, text := range map[string]string{"whole": "whole", "program": "program", "changed": "CHANGED", "shorter": "short", "target": "linked"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"changed", "shorter", "missing"}
	if err := os.Symlink("target", filepath.Join(dir, "linked")); err == nil {
		want = slices.Insert(want, 2, "linked")
	}
	c := s.client(t, adOf(t, dir, ""), outputs)
	files, err := c.Fetch(t.Context(), job.ID{Cluster: 1}, "", nil)
	if err != nil || len(files) != len(outputs) {
		t.Fatalf("fetched %q, %v, want all", files, err)
	}
	var got []string
	for _, d := range s.moved {
		got = append(got, s.content[d])
	}
	if !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q", got, want)
	}
	for _, f := range outputs {
		if b, err := os.ReadFile(filepath.Join(dir, f.Name)); err != nil || string(b) != f.Name {
			t.Errorf("%s is %q, %v", f.Name, b, err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "program")); err != nil || st.Mode()&0o100 == 0 && os.PathSeparator == '/' {
		t.Errorf("the program is %v, %v, want it executable", st.Mode(), err)
	}
}
