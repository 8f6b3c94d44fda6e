package files_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
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
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/matchmaker/files"
)

// service is a file service behind real TLS.
type service struct {
	*files.Service
	store  *blob.Store
	dir    string // of the store
	url    string
	http   *http.Client
	client *transfer.Client

	cutAfter atomic.Int64 // the next request body or answer is cut after so many bytes; 0 for never
	requests atomic.Int64
}

// start serves with cfg. A capability is the user's name with "rw:", "r:" or "w:" before it.
func start(t testing.TB, cfg files.Config) *service {
	t.Helper()
	s := &service{dir: t.TempDir()}
	var err error
	if s.store, err = blob.OpenStore(blob.StoreConfig{Dir: s.dir}); err != nil {
		t.Fatal(err)
	}
	cfg.Store = s.store
	if cfg.DiskFloor == 0 {
		cfg.DiskFloor = -1
	}
	if cfg.Authorise == nil {
		cfg.Authorise = func(token string, mode files.Mode, _ blob.Digest) (files.Grant, error) {
			modes, user, _ := strings.Cut(token, ":")
			if !strings.Contains(modes, mode.String()[:1]) {
				return files.Grant{}, &diag.Problem{What: "this capability is not to " + mode.String()}
			}
			return files.Grant{User: job.UserID(user)}, nil
		}
	}
	if s.Service, err = files.New(cfg); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if n := s.cutAfter.Load(); n > 0 && r.Method != http.MethodHead && s.cutAfter.CompareAndSwap(n, 0) {
			if r.Method == http.MethodPut {
				r.Body = &cutBody{r.Body, n}
			} else {
				w = &cutWriter{w, n}
			}
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	s.url = srv.URL
	s.http = transfer.NewHTTP(&tls.Config{RootCAs: roots})
	t.Cleanup(s.http.CloseIdleConnections)
	s.client, err = transfer.New(transfer.Config{BaseURL: srv.URL, HTTP: s.http, MaxDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cutBody fails like a lost connection.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// cutWriter cuts the connection in the middle of an answer.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func randomBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// do sends one request and returns the answer, its body read.
func (s *service) do(t *testing.T, method, path, token, contentRange string, body []byte) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentRange != "" {
		req.Header.Set("Content-Range", contentRange)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestRoundTrip(t *testing.T) {
	s := start(t, files.Config{})
	for _, size := range []int{0, 1, 1000, 300_000, 5 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := randomBytes(byte(size), size)
			d := blob.Sum(data)
			var done int64
			err := s.client.Put(t.Context(), "w:ann", d, int64(size), bytes.NewReader(data), func(n, _ int64) { done = n })
			if err != nil || done != int64(size) {
				t.Fatalf("Put = %v, progress %d of %d", err, done, size)
			}
			if n, err := s.client.Stat(t.Context(), "w:ann", d); err != nil || n != int64(size) {
				t.Errorf("Stat = %d, %v; want %d", n, err, size)
			}
			var got bytes.Buffer
			if _, err := s.client.Get(t.Context(), "r:ann", d, math.MaxInt64, &got, nil); err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("Get = %d bytes, %v; want the %d that were put", got.Len(), err, size)
			}
			path := filepath.Join(t.TempDir(), "out")
			if _, err := s.client.GetFile(t.Context(), "r:ann", d, path, 0o640, nil); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(file, data) {
				t.Errorf("GetFile made %d bytes, %v", len(file), err)
			}
			if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o640 {
				t.Errorf("GetFile made %v, %v; want the mode that was asked for", fi.Mode(), err)
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("GetFile left %v", left)
			}
		})
	}
}

func TestCutTransfersGoOn(t *testing.T) {
	s := start(t, files.Config{})
	data := randomBytes(1, 10<<20)
	d := blob.Sum(data)

	s.cutAfter.Store(4 << 20)
	lowest := int64(-1) // the offset at which the last attempt began
	last := int64(0)
	err := s.client.Put(t.Context(), "w:ann", d, int64(len(data)), bytes.NewReader(data), func(n, _ int64) {
		if n < last || lowest < 0 {
			lowest = n
		}
		last = n
	})
	if err != nil {
		t.Fatal(err)
	}
	if lowest < 4<<20 {
		t.Errorf("the upload that was cut at 40%% went on at %d", lowest)
	}

	for _, toFile := range []bool{false, true} {
		s.cutAfter.Store(4 << 20)
		var got bytes.Buffer
		if toFile {
			path := filepath.Join(t.TempDir(), "f")
			if _, err = s.client.GetFile(t.Context(), "r:ann", d, path, 0o640, nil); err == nil {
				data, rerr := os.ReadFile(path)
				got.Write(data)
				err = rerr
			}
		} else {
			_, err = s.client.Get(t.Context(), "r:ann", d, math.MaxInt64, &got, nil)
		}
		if err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("after a cut: %d bytes, %v", got.Len(), err)
		}
	}
}

func TestDownloadGoesOnInAnotherProcess(t *testing.T) {
	s := start(t, files.Config{})
	data := randomBytes(2, 3<<20)
	d := blob.Sum(data)
	if err := s.client.Put(t.Context(), "w:ann", d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	once, err := transfer.New(transfer.Config{BaseURL: s.url, HTTP: s.http, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "f")
	s.cutAfter.Store(1 << 20)
	if _, err := once.GetFile(t.Context(), "r:ann", d, path, 0o640, nil); !errors.Is(err, transfer.ErrCut) {
		t.Fatalf("cut download = %v, want ErrCut", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("half a file has its final name")
	}
	first := int64(-1)
	_, err = s.client.GetFile(t.Context(), "r:ann", d, path, 0o640, func(n, _ int64) {
		if first < 0 {
			first = n
		}
	})
	if err != nil || first < 1<<20 {
		t.Errorf("second GetFile = %v and began at %d", err, first)
	}

	// A beginning that is damaged is thrown away.
	os.Remove(path)
	part := filepath.Join(filepath.Dir(path), ".f."+d.Short()+".part")
	if err := os.WriteFile(part, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.GetFile(t.Context(), "r:ann", d, path, 0o640, nil); err != nil {
		t.Errorf("GetFile over a damaged beginning = %v", err)
	}
}

func TestUsersSeeOnlyWhatTheyProved(t *testing.T) {
	s := start(t, files.Config{})
	data := randomBytes(3, 300_000)
	d := blob.Sum(data)
	if err := s.client.Put(t.Context(), "w:ann", d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Stat(t.Context(), "w:bob", d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Stat by bob = %v, want ErrNotFound", err)
	}
	if _, err := s.client.Get(t.Context(), "r:bob", d, math.MaxInt64, io.Discard, nil); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get by bob = %v, want ErrNotFound", err)
	}
	// Half an upload shows nothing to others either.
	if resp, _ := s.do(t, http.MethodPut, "/b/"+string(d), "w:cem", "bytes 0-9/300000", data[:10]); resp.StatusCode != http.StatusAccepted {
		t.Errorf("first part by cem: %s", resp.Status)
	}
	resp, _ := s.do(t, http.MethodHead, "/b/"+string(d), "w:bob", "", nil)
	if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Upload-Offset") != "0" {
		t.Errorf("HEAD by bob: %s, offset %q", resp.Status, resp.Header.Get("Upload-Offset"))
	}
	before := s.store.Has(d)
	if err := s.client.Put(t.Context(), "w:bob", d, int64(len(data)), bytes.NewReader(data), nil); err != nil || !before {
		t.Errorf("Put by bob = %v", err)
	}
	if !s.Held("bob", d) || !s.Held("ann", d) || s.Held("cem", d) {
		t.Error("after two uploads ann and bob, and not cem, should hold the blob")
	}
}

// What the pool holds everybody reads, may name in a job, and need not upload.
func TestEverybodySeesWhatThePoolHas(t *testing.T) {
	s := start(t, files.Config{})
	data := randomBytes(4, 300_000)
	d := blob.Sum(data)
	if err := s.client.Put(t.Context(), "w:"+string(files.Pool), d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Get(t.Context(), "r:bob", d, math.MaxInt64, io.Discard, nil); err != nil || !s.Held("bob", d) {
		t.Errorf("Get by bob = %v; held %t", err, s.Held("bob", d))
	}
	if n, err := s.client.Stat(t.Context(), "w:bob", d); err != nil || n != int64(len(data)) {
		t.Errorf("Stat by bob = %d, %v", n, err)
	}
	own := randomBytes(5, 300_000)
	if err := s.client.Put(t.Context(), "w:ann", blob.Sum(own), int64(len(own)), bytes.NewReader(own), nil); err != nil {
		t.Fatal(err)
	}
	if s.Held(files.Pool, blob.Sum(own)) || s.Held("bob", blob.Sum(own)) {
		t.Error("what ann has uploaded is the pool's, too")
	}
}

// A disk that cannot be read does not say that a blob is not there, neither to this matchmaker nor to whoever asks it.
func TestDiskThatCannotBeRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links are for the administrator to make")
	}
	s := start(t, files.Config{})
	data := randomBytes(4, 300_000)
	d := blob.Sum(data)
	put := func(user job.UserID) {
		t.Helper()
		if err := s.client.Put(t.Context(), "w:"+string(user), d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
			t.Fatal(err)
		}
	}
	spoil := func(name string) {
		t.Helper()
		path := filepath.Join(s.dir, "data", string(d[:2]), name)
		if err := errors.Join(os.Remove(path), os.Symlink(name, path)); err != nil {
			t.Fatal(err)
		}
	}
	has := func(what string, user job.UserID, want bool, head int) {
		t.Helper()
		if err := s.Has(user, d); (err == nil) != want || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%s: Has = %v", what, err)
		}
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			if resp, _ := s.do(t, method, "/b/"+string(d), "rw:"+string(user), "", nil); resp.StatusCode != head {
				t.Errorf("%s: %s is answered with %s", what, method, resp.Status)
			}
		}
	}
	put("ann")
	has("all is well", "ann", true, http.StatusOK)
	spoil(string(d) + ".ann")
	has("the user's mark cannot be read", "ann", false, http.StatusInternalServerError)
	put(files.Pool)
	has("nor need it be", "ann", true, http.StatusOK)
	spoil(string(d) + "." + string(files.Pool))
	has("nor can the pool's", "bob", false, http.StatusInternalServerError)
	spoil(string(d))
	has("the content cannot be read", "ann", false, http.StatusInternalServerError)
}

func TestRequestsThatAreRefused(t *testing.T) {
	s := start(t, files.Config{MaxBlob: 1000})
	full := start(t, files.Config{DiskFloor: 1 << 60})
	data := []byte("0123456789")
	good, other := "/b/"+string(blob.Sum(data)), "/b/"+string(blob.Sum(nil))
	for _, tt := range []struct {
		name                        string
		s                           *service
		method, path, token, range_ string
		body                        []byte
		want                        int
		text                        string
	}{
		{"no capability", s, "PUT", good, "", "", data, 401, "no capability"},
		{"capability to read only", s, "PUT", good, "r:ann", "", data, 403, "not to write"},
		{"capability to write only", s, "GET", good, "w:ann", "", nil, 403, "not to read"},
		{"other method", s, "DELETE", good, "rw:ann", "", nil, 405, "want GET"},
		{"not a digest", s, "GET", "/b/../../etc/passwd", "r:ann", "", nil, 404, "SHA-256"},
		{"upper case", s, "GET", strings.ToUpper(good), "r:ann", "", nil, 404, "SHA-256"},
		{"unknown", s, "GET", good, "r:ann", "", nil, 404, "no such blob"},
		{"wrong content", s, "PUT", other, "w:ann", "", data, 422, "does not have this digest"},
		{"too large", s, "PUT", good, "w:ann", "bytes 0-9/1001", data, 413, "more than this pool takes"},
		{"no range", s, "PUT", good, "w:ann", "bytes 5-2/10", data, 416, "FIRST-LAST/TOTAL"},
		{"range and body differ", s, "PUT", good, "w:ann", "bytes 0-5/10", data, 416, "the body 10"},
		{"range beyond the end", s, "PUT", good, "w:ann", "bytes 5-14/10", data, 416, "FIRST-LAST/TOTAL"},
		{"negative", s, "PUT", good, "w:ann", "bytes -1-8/10", data, 416, "FIRST-LAST/TOTAL"},
		{"huge", s, "PUT", good, "w:ann", "bytes 0-9/99999999999999999999", data, 416, "FIRST-LAST/TOTAL"},
		{"offset that is not reached", s, "PUT", good, "w:ann", "bytes 5-14/15", data, 409, "stands at 0"},
		{"disk full", full, "PUT", good, "w:ann", "", data, 507, "no room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, text := tt.s.do(t, tt.method, tt.path, tt.token, tt.range_, tt.body)
			if resp.StatusCode != tt.want || !strings.Contains(text, tt.text) {
				t.Errorf("answered %d %q, want %d %q", resp.StatusCode, text, tt.want, tt.text)
			}
		})
	}
	for info := range s.store.All() {
		t.Errorf("a refused request stored %v", info)
	}

	// The client tells the refusals apart.
	big := make([]byte, 1001)
	if err := s.client.Put(t.Context(), "r:ann", blob.Sum(big), 1001, bytes.NewReader(big), nil); !errors.Is(err, transfer.ErrDenied) {
		t.Errorf("Put without permission = %v, want ErrDenied", err)
	}
	if err := s.client.Put(t.Context(), "w:ann", blob.Sum(data), 10, strings.NewReader("abcdefghij"), nil); !errors.Is(err, blob.ErrMismatch) {
		t.Errorf("Put of other content = %v, want ErrMismatch", err)
	}
	err := full.client.Put(t.Context(), "w:ann", blob.Sum(data), 10, bytes.NewReader(data), nil)
	if p := (*diag.Problem)(nil); !errors.Is(err, transfer.ErrNoRoom) || !errors.As(err, &p) || p.Hint == "" {
		t.Errorf("Put on a full disk = %v, want ErrNoRoom with a hint", err)
	}
}

func TestUploadInParts(t *testing.T) {
	s := start(t, files.Config{})
	data := []byte("0123456789")
	path := "/b/" + string(blob.Sum(data))
	put := func(contentRange string, body []byte, want int, offset string) {
		t.Helper()
		resp, text := s.do(t, http.MethodPut, path, "w:ann", contentRange, body)
		if resp.StatusCode != want || resp.Header.Get("Upload-Offset") != offset {
			t.Errorf("PUT %s: %d %q, offset %q; want %d, %q", contentRange, resp.StatusCode, text, resp.Header.Get("Upload-Offset"), want, offset)
		}
	}
	put("bytes 0-3/10", data[:4], 202, "4")
	put("bytes 6-9/10", data[6:], 409, "4")
	put("bytes 0-5/10", data[:6], 202, "6") // from the beginning again
	put("bytes 6-9/10", []byte("wxyz"), 422, "0")
	put("bytes 0-5/10", data[:6], 202, "6")
	put("bytes 6-9/10", data[6:], 201, "10")
	put("bytes 0-9/10", data, 200, "")
	if resp, got := s.do(t, http.MethodGet, path, "r:ann", "", nil); got != string(data) || resp.Header.Get("Etag") == "" {
		t.Errorf("GET = %q", got)
	}
}

func TestTreeOverHTTPS(t *testing.T) {
	s := start(t, files.Config{})
	tree := t.TempDir()
	for name, n := range map[string]int{"pages.img": 3<<20 + 5, "core.img": 3000, "mm.img": 700, "empty": 0} {
		if err := os.WriteFile(filepath.Join(tree, name), randomBytes(byte(n), n), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	key := blob.NewKey()
	sink := &transfer.Sink{Client: s.client, Capability: transfer.Always("w:ann")}
	m, err := blob.Pack(t.Context(), blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	d, err := blob.SaveManifest(t.Context(), sink, key, m)
	if err != nil {
		t.Fatal(err)
	}
	var second blob.Stats
	_, err = blob.Pack(t.Context(), blob.PackConfig{Dir: tree, Key: key, Sink: sink, Progress: func(s blob.Stats) { second = s }})
	if err != nil || second.NewBytes != 0 || second.Chunks == 0 {
		t.Errorf("second pack = %v, %+v; want nothing new", err, second)
	}

	cache, err := blob.OpenCache(blob.CacheConfig{Dir: t.TempDir(), MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	src := &transfer.Source{Client: s.client, Capability: transfer.Always("r:ann"), Cache: cache}
	for i := range 2 { // the second time from the cache alone
		before := s.requests.Load()
		m, err := blob.LoadManifest(t.Context(), src, key, d)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		err = blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: src, Key: key, Dir: out, MaxBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Entries {
			got, err := os.ReadFile(filepath.Join(out, e.Path))
			want, _ := os.ReadFile(filepath.Join(tree, e.Path))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s came back as %d bytes, %v", e.Path, len(got), err)
			}
		}
		if asked := s.requests.Load() - before; (asked == 0) != (i == 1) {
			t.Errorf("restore %d made %d requests", i+1, asked)
		}
	}
	path := filepath.Join(t.TempDir(), "one")
	for range 2 {
		if err := src.File(t.Context(), m.Chunks[0].Digest, path, nil); err != nil {
			t.Errorf("File = %v", err)
		}
	}
}

func TestSweep(t *testing.T) {
	s := start(t, files.Config{})
	keep, drop := randomBytes(1, 1000), randomBytes(2, 1000)
	for _, data := range [][]byte{keep, drop} {
		if err := s.client.Put(t.Context(), "w:ann", blob.Sum(data), 1000, bytes.NewReader(data), nil); err != nil {
			t.Fatal(err)
		}
	}
	s.do(t, http.MethodPut, "/b/"+string(blob.Sum(nil)), "w:ann", "bytes 0-3/10", []byte("part"))
	live := func(d blob.Digest) bool { return d == blob.Sum(keep) }
	if got, err := s.Sweep(live, time.Hour); err != nil || got != (blob.Swept{}) {
		t.Errorf("Sweep of what is fresh = %+v, %v", got, err)
	}
	want := blob.Swept{Blobs: 1, Partials: 1, Bytes: 1004}
	if got, err := s.Sweep(live, -time.Hour); err != nil || got != want {
		t.Errorf("Sweep = %+v, %v; want %+v", got, err, want)
	}
	if !s.Held("ann", blob.Sum(keep)) || s.Held("ann", blob.Sum(drop)) {
		t.Error("the live blob should be held, the other gone")
	}
	// Who comes back proves it again.
	if _, err := s.store.PutBytes(drop); err != nil {
		t.Fatal(err)
	}
	if s.Held("ann", blob.Sum(drop)) {
		t.Error("a mark outlived its blob")
	}
}

func TestBusyServiceSendsAway(t *testing.T) {
	s := start(t, files.Config{MaxActive: 1, MaxWaiting: 1, MaxWait: time.Millisecond})
	const first = 256 << 10 // what the service writes at a time
	data := randomBytes(1, first+1000)
	d := blob.Sum(data)
	// One upload stands in the door: its body does not come.
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+"/b/"+string(d), r)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(data))
	req.Header.Set("Authorization", "Bearer w:ann")
	done := make(chan error, 1)
	go func() {
		resp, err := s.http.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	if _, err := w.Write(data[:first]); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if n, _ := s.store.PartialSize(d, "ann"); n == first {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first bytes did not arrive")
		}
	}
	resp, _ := s.do(t, http.MethodPut, "/b/"+string(d), "w:bob", "", data)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a busy service answered %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	if resp, _ := s.do(t, http.MethodHead, "/b/"+string(d), "w:bob", "", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD had to wait: %s", resp.Status)
	}
	w.Write(data[first:])
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.client.Put(t.Context(), "w:bob", d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
		t.Errorf("Put after the door is free = %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	s := start(b, files.Config{})
	data := randomBytes(1, 100<<20)
	b.SetBytes(int64(len(data)))
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		data[0], data[1], data[2] = byte(i), byte(i>>8), data[2]+1
		d := blob.Sum(data)
		b.StartTimer()
		if err := s.client.Put(b.Context(), "w:ann", d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.store.Remove(d)
		b.StartTimer()
	}
}

func BenchmarkGet(b *testing.B) {
	s := start(b, files.Config{})
	data := randomBytes(1, 100<<20)
	d := blob.Sum(data)
	if err := s.client.Put(b.Context(), "w:ann", d, int64(len(data)), bytes.NewReader(data), nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := s.client.Get(b.Context(), "r:ann", d, math.MaxInt64, io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheckpointPath is an image of 100 MB all the way to the service's disk: read, compress,
// encrypt, send, verify, flush.
func BenchmarkCheckpointPath(b *testing.B) {
	s := start(b, files.Config{})
	tree := b.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "pages"), randomBytes(1, 100<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	sink := &transfer.Sink{Client: s.client, Capability: transfer.Always("w:ann")}
	send := func(key blob.Key) blob.Manifest {
		m, err := blob.Pack(b.Context(), blob.PackConfig{Dir: tree, Key: key, Sink: sink})
		if err != nil {
			b.Fatal(err)
		}
		var parts []blob.Digest
		for _, c := range m.Chunks {
			parts = append(parts, c.Digest)
		}
		if missing, err := s.store.Settle(parts...); err != nil || len(missing) > 0 {
			b.Fatal(missing, err)
		}
		return m
	}
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%t", again), func(b *testing.B) {
			b.SetBytes(100 << 20)
			key := blob.NewKey()
			if again {
				send(key)
			}
			for b.Loop() {
				if !again {
					key = blob.NewKey()
				}
				send(key)
			}
		})
	}
	b.Run("fetch", func(b *testing.B) {
		b.SetBytes(100 << 20)
		key := blob.NewKey()
		m := send(key)
		src := &transfer.Source{Client: s.client, Capability: transfer.Always("r:ann")}
		for b.Loop() {
			out := filepath.Join(b.TempDir(), "out")
			err := blob.Unpack(b.Context(), blob.UnpackConfig{Manifest: m, Source: src, Key: key, Dir: out, MaxBytes: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			os.RemoveAll(out)
		}
	})
}
