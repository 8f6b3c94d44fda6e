package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/transfer"
)

// The real file service is tested with this client in matchmaker/files. Here are servers that are worse.

func newClient(t *testing.T, h http.HandlerFunc, cfg transfer.Config) *transfer.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg.BaseURL, cfg.HTTP, cfg.MaxDelay = srv.URL, srv.Client(), time.Millisecond
	c, err := transfer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	content = []byte("the content of a blob")
	digest  = blob.Sum(content)
)

func TestNewRefuses(t *testing.T) {
	for _, url := range []string{"", "pool.example.org", "ftp://pool.example.org", "http://pool.example.org", "http://192.0.2.1:9618"} {
		if _, err := transfer.New(transfer.Config{BaseURL: url, HTTP: http.DefaultClient}); err == nil {
			t.Errorf("New took %q", url)
		}
	}
	if _, err := transfer.New(transfer.Config{BaseURL: "https://pool.example.org:9618/", HTTP: http.DefaultClient}); err != nil {
		t.Error(err)
	}
}

func TestGetFromServersThatAreWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		text   string
	}{
		{"other content", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "something else......") }, blob.ErrMismatch, ""},
		{"one bit", func(w http.ResponseWriter, _ *http.Request) {
			b := bytes.Clone(content)
			b[3] ^= 1
			w.Write(b)
		}, blob.ErrMismatch, ""},
		{"larger than allowed", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(bytes.Repeat(content, 10))
		}, blob.ErrTooLarge, "at most 100"},
		{"no length", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(content)
		}, nil, "answered 200 OK"},
		{"a range that was not asked for", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-20/21")
			w.WriteHeader(http.StatusPartialContent)
		}, nil, "from byte 0 on"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, nil, ""},
		{"unknown", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, blob.ErrNotFound, ""},
		{"denied", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "it has expired", http.StatusForbidden) }, transfer.ErrDenied, "it has expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				tt.answer(w, r)
			}))
			defer srv.Close()
			web := transfer.NewHTTP(nil)
			defer web.CloseIdleConnections()
			c, err := transfer.New(transfer.Config{BaseURL: srv.URL, HTTP: web, MaxDelay: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Bytes(t.Context(), "x", digest, 100)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Bytes = %v, want %v %q", err, tt.want, tt.text)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("asked %d times; another attempt could only fail again", n)
			}

			dir := t.TempDir()
			if _, err := c.GetFile(t.Context(), "x", digest, filepath.Join(dir, "f"), 0o600, nil); err == nil {
				// The bound is the caller's of Bytes alone; this content is wrong as well.
				t.Errorf("GetFile took it")
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("GetFile left %v", left)
			}
		})
	}
}

func TestServersThatComeBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail http.HandlerFunc
	}{
		{"busy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		{"gone", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var failures atomic.Int32
			failures.Store(3)
			c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if failures.Add(-1) >= 0 {
					tt.fail(w, r)
					return
				}
				switch r.Method {
				case http.MethodPut:
					got, _ := io.ReadAll(r.Body)
					if !bytes.Equal(got, content) {
						w.WriteHeader(http.StatusUnprocessableEntity)
						return
					}
					w.WriteHeader(http.StatusCreated)
				case http.MethodHead:
					w.WriteHeader(http.StatusNotFound)
				default:
					w.Write(content)
				}
			}, transfer.Config{Attempts: 4})
			if got, err := c.Bytes(t.Context(), "x", digest, 100); err != nil || !bytes.Equal(got, content) {
				t.Errorf("Bytes = %q, %v", got, err)
			}
			failures.Store(3)
			if err := c.Put(t.Context(), "x", digest, int64(len(content)), bytes.NewReader(content), nil); err != nil {
				t.Errorf("Put = %v", err)
			}
			failures.Store(1000)
			if _, err := c.Bytes(t.Context(), "x", digest, 100); err == nil {
				t.Error("a server that does not come back was waited for")
			}
			// net/http asks again by itself when a connection that it used before breaks.
			if made := 1000 - failures.Load(); made < 4 || made > 8 {
				t.Errorf("made %d attempts, want 4", made)
			}
		})
	}
}

// A service with too many transfers is not a broken one.
func TestBusyServerIsWaitedFor(t *testing.T) {
	var asked atomic.Int32
	for _, tt := range []struct {
		name     string
		patience time.Duration
		busy     int32 // times
		served   bool
	}{
		{"more often than broken ones are asked", time.Minute, 50, true},
		{"not for ever", time.Nanosecond, 1 << 30, false},
	} {
		asked.Store(0)
		c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) <= tt.busy {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.Write(content)
		}, transfer.Config{Attempts: 4, Patience: tt.patience})
		if _, err := c.Bytes(t.Context(), "x", digest, 100); (err == nil) != tt.served {
			t.Errorf("%s: Bytes = %v after %d attempts", tt.name, err, asked.Load())
		}
	}
}

func TestSilentServerIsLeft(t *testing.T) {
	release := make(chan struct{})
	c := newClient(t, func(http.ResponseWriter, *http.Request) { <-release },
		transfer.Config{Attempts: 2, Stall: 20 * time.Millisecond})
	defer close(release)
	if _, err := c.Bytes(t.Context(), "x", digest, 100); !errors.Is(err, transfer.ErrCut) {
		t.Errorf("Bytes = %v, want ErrCut", err)
	}
	if _, err := c.Stat(t.Context(), "x", digest); !errors.Is(err, transfer.ErrCut) {
		t.Errorf("Stat = %v, want ErrCut", err)
	}
}

func TestCallerEndsATransfer(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the owner is back")
	release := make(chan struct{})
	c := newClient(t, func(http.ResponseWriter, *http.Request) {
		cancel(reason)
		<-release
	}, transfer.Config{})
	defer close(release)
	if err := c.Put(ctx, "x", digest, int64(len(content)), bytes.NewReader(content), nil); !errors.Is(err, reason) {
		t.Errorf("Put = %v, want the caller's reason", err)
	}
}

func TestFileThatShrinksIsOurFault(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusRequestTimeout)
	}, transfer.Config{})
	err := c.Put(t.Context(), "x", digest, 1000, bytes.NewReader(content), nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Put of a file that became shorter = %v", err)
	}
}

// Who else may write into the directory can put a link where the beginning of a download will be.
func TestPlantedBeginning(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}, transfer.Config{})
	for _, tt := range []struct {
		name string
		link func(to, name string) error
	}{
		{"symbolic link", os.Symlink},
		{"hard link", os.Link},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("links are made by those who may write to the file")
			}
			dir := t.TempDir()
			keys, path := filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "out")
			if err := os.WriteFile(keys, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tt.link(keys, filepath.Join(dir, ".out."+digest.Short()+".part")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.GetFile(t.Context(), "x", digest, path, 0o600, nil); err != nil {
				t.Error(err)
			}
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, content) {
				t.Errorf("the file is %q, %v", b, err)
			}
			if b, err := os.ReadFile(keys); err != nil || string(b) != "mine" {
				t.Errorf("what the link led to is %q, %v", b, err)
			}
		})
	}
}

func TestSinkDoesNotAskForWhatIsKnown(t *testing.T) {
	c := newClient(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") }, transfer.Config{})
	s := &transfer.Sink{
		Client: c, Capability: transfer.Always("x"),
		Known: func(d blob.Digest) bool { return d == digest },
	}
	if have, err := s.Has(t.Context(), digest); !have || err != nil {
		t.Errorf("Has = %t, %v", have, err)
	}
}

func ExampleClient_PutFile() {
	put := func(ctx context.Context, c *transfer.Client, capability, path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		d, size, err := blob.SumReader(f)
		if err != nil {
			return err
		}
		return c.Put(ctx, capability, d, size, f, func(done, total int64) { fmt.Printf("%d of %d\n", done, total) })
	}
	_ = put
}
