// Package files is the matchmaker's file service: inputs, outputs and checkpoints as blobs, over HTTPS.
//
//	GET  /b/<sha256>   the content, with Range
//	HEAD /b/<sha256>   200 and the size; or 404, with Upload-Offset when an upload has begun
//	PUT  /b/<sha256>   stores the content; Content-Range goes on with an upload that was cut
//
// Every request carries a capability as bearer token, which the server that wires this package judges.
// Equal content is stored once, but a user only ever sees what this user has proved to have by
// uploading it: to everybody else it is not there, since "already there" would tell one user what
// another has. What [Pool] holds is there for everybody.
//
// The service believes no peer: sizes are bounded, the disk keeps a floor, content that does not hash to
// its name is dropped, whoever is slower than [Config.MinRate] is cut off, and transfers beyond what the
// machine carries wait in a queue, fairly between users and one job's after another's, or are told when to come back.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	client "skua/internal/transfer"
)

// Mode says what a request wants to do with a blob.
type Mode int

// The modes of requests. HEAD asks for Write, as it is the question before a PUT.
const (
	Read  Mode = iota // GET
	Write             // PUT and HEAD
)

func (m Mode) String() string {
	if m == Write {
		return "write"
	}
	return "read"
}

// Grant is what a capability turned out to allow.
type Grant struct {
	User job.UserID // whose content it is: the job's user, also when an agent asks
	Job  job.ID     // the job it is for; zero for a user's own request
	Any  bool       // reads whatever is here, no matter whose: another matchmaker of the pool
}

// Pool holds what every user of the pool may read: the archives of the pool's runtime roots. No user's id is so short.
const Pool job.UserID = "pool"

// Holds reports whether a store has d for a user.
func Holds(store *blob.Store, user job.UserID, d blob.Digest) bool {
	return find(store, user, d) == nil
}

// find is nil when a store has d for a user, and [blob.ErrNotFound] when it has not. Any other error is one of the disk's.
func find(store *blob.Store, user job.UserID, d blob.Digest) error {
	err := store.Find(d, string(user))
	if err == nil {
		return nil
	}
	switch perr := store.Find(d, string(Pool)); {
	case perr == nil:
		return nil
	case errors.Is(err, blob.ErrNotFound):
		return perr
	}
	return err
}

// ErrLater is what [Config.Authorise] says of a capability that it cannot judge yet. The peer is told to come back.
var ErrLater = errors.New("the file service does not know yet")

// OwnHeader marks the requests of the pool's other matchmakers. They are answered from what is here: with everything
// asking everybody else a request would never end.
const OwnHeader = "Skua-Matchmaker"

// Config is what a Service is made of.
type Config struct {
	Store *blob.Store // required

	// Authorise judges a capability. Required. Its error is shown to the peer when it is a
	// [diag.Problem] and only logged otherwise.
	Authorise func(token string, mode Mode, d blob.Digest) (Grant, error)

	// Fetch brings a blob that the user has put at another matchmaker. Its errors are [blob.ErrNotFound] when there
	// is none, and others when it may come later. Nil means that there is no other matchmaker.
	Fetch func(ctx context.Context, user job.UserID, d blob.Digest) error
	// Stored is told of a blob that the user has put, before the user is. Nil means that nobody cares.
	Stored func(ctx context.Context, user job.UserID, d blob.Digest)

	MaxBlob   int64        // the largest blob in bytes; 0 means 64 GiB
	DiskFloor int64        // bytes of free disk that no upload may touch; 0 means 1 GiB, less than 0 none
	MinRate   int64        // bytes per second below which, over a minute, a transfer is cut off; 0 means 16 KiB
	Log       *slog.Logger // nil means no logging

	// Transfers at a time in each direction, and how many more may wait. 0 means 16 and 1024.
	MaxActive, MaxWaiting int
	// MaxWait is how long a transfer waits for its turn before it is sent away; 0 means 20 s, less
	// than the time after which clients take a silent server for a dead one.
	MaxWait time.Duration
}

// Service is the file service, an [http.Handler].
type Service struct {
	cfg  Config
	log  *slog.Logger
	down *turnstile // GET
	up   *turnstile // PUT
	room room
}

// New makes a Service. It starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Authorise == nil {
		return nil, errors.New("file service: Store and Authorise are required")
	}
	setDefault(&cfg.MaxBlob, 64<<30)
	setDefault(&cfg.DiskFloor, 1<<30)
	setDefault(&cfg.MinRate, 16<<10)
	setDefault(&cfg.MaxActive, 16)
	setDefault(&cfg.MaxWaiting, 1024)
	setDefault(&cfg.MaxWait, 20*time.Second)
	if cfg.MaxBlob < 0 || cfg.MinRate < 0 || cfg.MaxActive < 0 || cfg.MaxWaiting < 0 || cfg.MaxWait < 0 {
		return nil, errors.New("file service: a bound is negative")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		cfg:  cfg,
		log:  cfg.Log,
		down: newTurnstile(cfg.MaxActive, cfg.MaxWaiting),
		up:   newTurnstile(cfg.MaxActive, cfg.MaxWaiting),
		room: room{free: cfg.Store.Free, floor: cfg.DiskFloor},
	}, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// ServeHTTP answers the requests of the package comment.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode := Write
	switch r.Method {
	case http.MethodGet:
		mode = Read
	case http.MethodHead, http.MethodPut:
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		http.Error(w, "want GET, HEAD or PUT", http.StatusMethodNotAllowed)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/b/")
	d, err := blob.ParseDigest(name)
	if !ok || err != nil {
		http.Error(w, "want /b/ and a SHA-256 in lower-case hexadecimal", http.StatusNotFound)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "no capability given", http.StatusUnauthorized)
		return
	}
	grant, err := s.cfg.Authorise(token, mode, d)
	if errors.Is(err, ErrLater) {
		sendAway(w, err.Error())
		return
	}
	if err != nil {
		s.refuse(w, r, d, err)
		return
	}
	switch r.Method {
	case http.MethodHead:
		s.head(w, r, d, grant)
	case http.MethodGet:
		s.get(w, r, d, grant)
	case http.MethodPut:
		s.put(w, r, d, grant)
	}
}

func (s *Service) refuse(w http.ResponseWriter, r *http.Request, d blob.Digest, err error) {
	s.log.Info("file request refused", "method", r.Method, "blob", d.Short(), "peer", r.RemoteAddr, diag.KeyError, err)
	text := "the capability does not allow this"
	if p := (*diag.Problem)(nil); errors.As(err, &p) {
		text = p.What
	}
	http.Error(w, text, http.StatusForbidden)
}

// fail reports a failure that is ours.
func (s *Service) fail(w http.ResponseWriter, d blob.Digest, err error) {
	s.log.Warn("file service", "blob", d.Short(), diag.KeyError, err)
	http.Error(w, "the file service has failed; its log says why", http.StatusInternalServerError)
}

// later reports whether a request is content with a blob that is not durable yet, but will be by [blob.Store.Settle].
// With other matchmakers none is put off, since the one that settles it may not be the one that has it.
func (s *Service) later(r *http.Request) bool {
	return s.cfg.Stored == nil && r.Header.Get(client.LaterHeader) != ""
}

// there is [Service.Has] of a blob of the user's, as durably as the request wants it.
func (s *Service) there(r *http.Request, d blob.Digest, g Grant) error {
	if s.later(r) {
		return find(s.cfg.Store, g.User, d)
	}
	return s.Has(g.User, d)
}

func (s *Service) head(w http.ResponseWriter, r *http.Request, d blob.Digest, g Grant) {
	err := s.there(r, d, g)
	var size int64
	if err == nil {
		size, err = s.cfg.Store.Size(d)
	}
	if err == nil {
		err = s.cfg.Store.Touch(d) // about to be referred to: must outlive the next sweep
	}
	switch {
	case err == nil:
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		w.Header().Set("ETag", etag(d))
		w.WriteHeader(http.StatusOK)
		return
	case !errors.Is(err, blob.ErrNotFound):
		s.fail(w, d, err)
		return
	}
	n, err := s.cfg.Store.PartialSize(d, string(g.User))
	if err != nil {
		s.fail(w, d, err)
		return
	}
	setOffset(w, n)
	w.WriteHeader(http.StatusNotFound)
}

func (s *Service) get(w http.ResponseWriter, r *http.Request, d blob.Digest, g Grant) {
	size, err := s.cfg.Store.Size(d)
	if err != nil {
		size = 0 // it is looked for below, and perhaps fetched
	}
	leave, ok := s.enter(w, r, s.down, g, size)
	if !ok {
		return
	}
	defer leave()
	if !g.Any {
		if err := find(s.cfg.Store, g.User, d); err != nil && !s.fetch(w, r, d, g, err) {
			return
		}
	}
	f, err := s.cfg.Store.Open(d)
	if errors.Is(err, blob.ErrNotFound) {
		http.Error(w, "no such blob", http.StatusNotFound)
		return
	}
	if err != nil {
		s.fail(w, d, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "private, immutable")
	w.Header().Set("ETag", etag(d))
	http.ServeContent(&steadyWriter{w, s.pace(http.NewResponseController(w).SetWriteDeadline)}, r, "", time.Time{}, f)
}

// fetch brings a blob from another matchmaker, or answers the request. here is why it is not to be had here.
func (s *Service) fetch(w http.ResponseWriter, r *http.Request, d blob.Digest, g Grant, here error) bool {
	err := error(blob.ErrNotFound)
	if s.cfg.Fetch != nil && r.Header.Get(OwnHeader) == "" {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.MaxWait)
		defer cancel()
		err = s.cfg.Fetch(ctx, g.User, d)
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, blob.ErrNotFound) && !errors.Is(here, blob.ErrNotFound):
		s.fail(w, d, here)
	case errors.Is(err, blob.ErrNotFound):
		http.Error(w, "no such blob", http.StatusNotFound)
	default:
		s.log.Debug("blob is not here yet", "blob", d.Short(), diag.KeyError, err)
		sendAway(w, "the file is on its way from another matchmaker")
	}
	return false
}

// put stores the body. Answers: 201 stored; 200 was there; 202 partly here; 4xx with the reason.
func (s *Service) put(w http.ResponseWriter, r *http.Request, d blob.Digest, g Grant) {
	rng, code, err := parseBody(r)
	if err != nil {
		http.Error(w, err.Error(), code)
		return
	}
	if rng.total > s.cfg.MaxBlob {
		http.Error(w, fmt.Sprintf("%d bytes are more than this pool takes in one piece, %d", rng.total, s.cfg.MaxBlob),
			http.StatusRequestEntityTooLarge)
		return
	}
	leave, ok := s.enter(w, r, s.up, g, rng.length)
	if !ok {
		return
	}
	defer leave()
	if s.there(r, d, g) == nil && s.cfg.Store.Touch(d) == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	promised := s.makeRoom(w, d, rng.total-rng.first)
	if promised == nil {
		return
	}
	defer promised.end()
	u, err := s.cfg.Store.Upload(d, string(g.User))
	switch {
	case errors.Is(err, blob.ErrBusy):
		sendAway(w, "the same upload is under way on another connection")
		return
	case err != nil:
		s.fail(w, d, err)
		return
	}
	defer u.Close()
	if rng.first == 0 {
		if err := u.Restart(); err != nil {
			s.fail(w, d, err)
			return
		}
	}
	if u.Offset() != rng.first {
		setOffset(w, u.Offset())
		http.Error(w, fmt.Sprintf("the upload stands at %d, not %d", u.Offset(), rng.first), http.StatusConflict)
		return
	}
	s.receive(w, r, u, promised, d, g, rng)
}

// receive appends the body to u, and makes it a blob when that is the last of it.
func (s *Service) receive(w http.ResponseWriter, r *http.Request, u *blob.Upload, promised *promise, d blob.Digest, g Grant, rng bodyRange) {
	deadline := http.NewResponseController(w).SetReadDeadline
	body := &steadyReader{r: io.LimitReader(r.Body, rng.length), pace: s.pace(deadline)}
	err := copyFull(u, body, promised.wrote)
	deadline(time.Time{}) // what follows is our time, not the peer's
	setOffset(w, u.Offset())
	switch {
	case err != nil && body.failed: // the peer has gone or is too slow; what came is kept
		s.log.Debug("upload cut", "blob", d.Short(), diag.KeyBytes, u.Offset(), diag.KeyError, err)
		http.Error(w, "the upload was cut", http.StatusRequestTimeout)
	case err != nil:
		if free, ferr := s.cfg.Store.Free(); ferr == nil && free < 1<<20 {
			http.Error(w, "the pool's disk is full", http.StatusInsufficientStorage)
			return
		}
		s.fail(w, d, err)
	case u.Offset() < rng.first+rng.length:
		http.Error(w, "the upload was cut", http.StatusRequestTimeout)
	case u.Offset() < rng.total:
		w.WriteHeader(http.StatusAccepted)
	default:
		commit := u.Commit
		if s.later(r) {
			commit = u.CommitLater
		}
		if err := commit(); errors.Is(err, blob.ErrMismatch) {
			setOffset(w, 0)
			s.log.Info("upload refused", "blob", d.Short(), "peer", r.RemoteAddr, diag.KeyError, err)
			http.Error(w, "the content does not have this digest; it was dropped", http.StatusUnprocessableEntity)
			return
		} else if err != nil {
			s.fail(w, d, err)
			return
		}
		if s.cfg.Stored != nil && r.Header.Get(OwnHeader) == "" {
			ctx, cancel := context.WithTimeout(r.Context(), s.cfg.MaxWait)
			defer cancel()
			s.cfg.Stored(ctx, g.User, d)
		}
		w.WriteHeader(http.StatusCreated)
	}
}

// buffers has memory that was used before, since new memory is dear.
var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// copyFull copies all of r, and says what it has written. A record of TLS has 16 kB, and to write or hash each alone is
// dear.
func copyFull(w io.Writer, r io.Reader, wrote func(int64)) error {
	buf := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := io.ReadFull(r, buf[:])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		wrote(int64(n))
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// makeRoom promises an upload n bytes of the disk. Nil means that the request has been answered: with 507 when they would
// take the disk below its floor, and with 503 when they would only if all uploads under way came to their end.
func (s *Service) makeRoom(w http.ResponseWriter, d blob.Digest, n int64) *promise {
	promised, err := s.room.promise(n)
	switch {
	case errors.Is(err, errFull):
		s.log.Warn("upload refused: disk full", "blob", d.Short(), diag.KeyBytes, n, "floor", s.cfg.DiskFloor)
		http.Error(w, fmt.Sprintf("the pool's disk has no room for %d bytes", n), http.StatusInsufficientStorage)
	case errors.Is(err, errPromised):
		sendAway(w, fmt.Sprintf("the pool's disk has no room for %d bytes beside the uploads under way", n))
	case err != nil:
		s.fail(w, d, err)
	}
	return promised
}

// enter takes the turn of a transfer, or answers the request with 503.
func (s *Service) enter(w http.ResponseWriter, r *http.Request, t *turnstile, g Grant, bytes int64) (leave func(), ok bool) {
	leave, err := t.enter(r.Context(), transfer{g.User, g.Job, bytes}, s.cfg.MaxWait)
	if err != nil {
		sendAway(w, "the file service is busy")
		return nil, false
	}
	return leave, true
}

// Has is nil when content is here and durable and the user has proved to have it, and [blob.ErrNotFound] when it is not. Any
// other error is one of the disk's.
func (s *Service) Has(user job.UserID, d blob.Digest) error {
	if err := find(s.cfg.Store, user, d); err != nil {
		return err
	}
	missing, err := s.cfg.Store.Settle(d)
	if err != nil {
		return fmt.Errorf("find blob %s: %w", d.Short(), err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("find blob %s: %w", d.Short(), blob.ErrNotFound)
	}
	return nil
}

// Held reports whether the service has content for the user, as [Service.Has] says it.
func (s *Service) Held(user job.UserID, d blob.Digest) bool { return s.Has(user, d) == nil }

// Sweep removes blobs that live does not want and that nobody has put or asked for during olderThan,
// and uploads abandoned for as long. olderThan covers the time between an upload and the event that
// refers to it; a day is right.
func (s *Service) Sweep(live func(blob.Digest) bool, olderThan time.Duration) (blob.Swept, error) {
	start := time.Now()
	swept, err := s.cfg.Store.Sweep(live, olderThan)
	if swept != (blob.Swept{}) {
		s.log.Info("unused blobs removed", "blobs", swept.Blobs, "uploads", swept.Partials,
			diag.KeyBytes, swept.Bytes, diag.KeyTook, time.Since(start))
	}
	return swept, err
}

func etag(d blob.Digest) string { return `"` + string(d) + `"` }

func setOffset(w http.ResponseWriter, n int64) {
	w.Header().Set("Upload-Offset", strconv.FormatInt(n, 10))
}

func sendAway(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "2")
	http.Error(w, why, http.StatusServiceUnavailable)
}
