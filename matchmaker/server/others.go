package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/matchmaker/files"
	"skua/matchmaker/queue"
)

// others are the file services of the pool's other matchmakers. What is put here is pushed on to those that can be
// reached; what is missing here is fetched from them. They know each other by the pool's keys.
type others struct {
	urls  func() []string
	store *blob.Store
	free  func() (int64, error) // bytes of the disk; the store's
	floor int64                 // of them, that stay free
	sign  func(trust.Capability) (string, error)
	http  *http.Client
	log   *slog.Logger
	queue chan *order

	mu     sync.Mutex
	orders map[queue.Need]*order // guarded by mu: what is being fetched
	down   map[string]time.Time  // guarded by mu: who did not answer, and when
}

// order is a blob that is being fetched.
type order struct {
	need queue.Need
	done chan struct{} // closed when err is set
	err  error
}

const (
	everyone     = "*" // in a capability: a matchmaker, who reads what is everybody's. No user's id has this letter
	tablesHolder = "matchmakers"

	ownCapability = time.Hour
	fetchers      = 4
	maxOrders     = 1024
	dialOther     = 3 * time.Second
	downFor       = 30 * time.Second // how long a matchmaker that did not answer is pushed nothing, and not asked
	tableTimeout  = time.Minute
	heldTimeout   = 5 * time.Second
)

var errOtherLater = errors.New("another matchmaker may have it, but has not given it yet")

func (h *Head) newOthers() (*others, error) {
	cfg, err := trust.ClientTLS(h.authority.Fingerprint())
	if err != nil {
		return nil, err
	}
	return newOthers(h.cluster.heads.others, h.store, int64(h.settings.Limits.DiskFree), h.signer.Encode, cfg, h.log), nil
}

func newOthers(urls func() []string, store *blob.Store, floor int64, sign func(trust.Capability) (string, error), cfg *tls.Config, log *slog.Logger) *others {
	client := transfer.NewHTTP(cfg)
	if t, ok := client.Transport.(*http.Transport); ok {
		t.DialContext = (&net.Dialer{Timeout: dialOther}).DialContext
	}
	client.Transport = marked{client.Transport}
	return &others{
		urls: urls, store: store, free: store.Free, floor: floor, sign: sign, log: log, http: client,
		queue: make(chan *order, maxOrders), orders: map[queue.Need]*order{}, down: map[string]time.Time{},
	}
}

// marked marks requests as a matchmaker's.
type marked struct{ http.RoundTripper }

func (m marked) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(files.OwnHeader, "1")
	return m.RoundTripper.RoundTrip(r)
}

// run fetches what is ordered until ctx ends.
func (o *others) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range fetchers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case ord := <-o.queue:
					ord.err = o.bring(ctx, ord.need)
					o.mu.Lock()
					delete(o.orders, ord.need)
					o.mu.Unlock()
					close(ord.done)
				}
			}
		})
	}
	wg.Wait()
	o.http.CloseIdleConnections()
	return nil
}

// fetch has a blob of a user's brought here. It goes on when ctx has ended, for those who ask again.
func (o *others) fetch(ctx context.Context, user job.UserID, d blob.Digest) error {
	need := queue.Need{Digest: d, User: user}
	o.mu.Lock()
	ord := o.orders[need]
	if ord == nil {
		ord = &order{need: need, done: make(chan struct{})}
		select {
		case o.queue <- ord:
			o.orders[need] = ord
		default:
			o.mu.Unlock()
			return errOtherLater
		}
	}
	o.mu.Unlock()
	select {
	case <-ord.done:
		return ord.err
	case <-ctx.Done():
		return errOtherLater
	}
}

// has says whether a need is satisfied here.
func (o *others) has(n queue.Need) bool {
	if n.User == "" {
		return o.store.Has(n.Digest)
	}
	return files.Holds(o.store, n.User, n.Digest)
}

// bring copies a blob from whichever of the others has it. The error is [blob.ErrNotFound] only when all have said so.
func (o *others) bring(ctx context.Context, n queue.Need) error {
	if o.has(n) {
		return nil
	}
	if err := o.checkRoom(0); err != nil {
		return err
	}
	failed := fmt.Errorf("fetch blob %s: %w", n.Digest.Short(), blob.ErrNotFound)
	for _, url := range o.urls() {
		err := o.copyFrom(ctx, url, n)
		if err == nil {
			o.log.Debug("file fetched", "blob", n.Digest.Short(), "from", url)
			return nil
		}
		if !errors.Is(err, blob.ErrNotFound) {
			failed = fmt.Errorf("%w: %s: %w", errOtherLater, url, err)
		}
	}
	return failed
}

// checkRoom says that n more bytes would take the disk below its floor.
func (o *others) checkRoom(n int64) error {
	if free, err := o.free(); err == nil && free-n < o.floor {
		return fmt.Errorf("%d bytes of disk are free, %d are to come and %d must stay free", free, n, o.floor)
	}
	return nil
}

func (o *others) copyFrom(ctx context.Context, url string, n queue.Need) error {
	user, holder := string(n.User), string(n.User)
	if n.User == "" {
		user, holder = everyone, tablesHolder
	}
	client, capability, err := o.client(url, trust.Capability{User: user, Digest: string(n.Digest), Mode: trust.Read})
	if err != nil {
		return err
	}
	u, err := o.store.Upload(n.Digest, holder)
	if err != nil {
		return err
	}
	defer u.Close()
	if err := u.Restart(); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	_, err = client.Get(ctx, capability, n.Digest, math.MaxInt64, u, func(done, total int64) {
		if err := o.checkRoom(total - done); err != nil {
			stop(err)
		}
	})
	if err = cmp.Or(context.Cause(ctx), err); err != nil {
		return err
	}
	return u.Commit()
}

func (o *others) client(url string, c trust.Capability) (*transfer.Client, string, error) {
	c.Expires = time.Now().Add(ownCapability)
	capability, err := o.sign(c)
	if err != nil {
		return nil, "", err
	}
	client, err := transfer.New(transfer.Config{BaseURL: url, HTTP: o.http, Attempts: 2, MaxDelay: time.Second})
	return client, capability, err
}

// stored pushes a blob that a user has put here on to the others, until ctx ends. Whom that does not reach fetches it.
func (o *others) stored(ctx context.Context, user job.UserID, d blob.Digest) {
	var wg sync.WaitGroup
	for _, url := range o.urls() {
		if o.isDown(url) {
			continue
		}
		wg.Go(func() {
			err := o.push(ctx, url, user, d)
			if err != nil {
				o.log.Info("file is not pushed on, it will be fetched", "blob", d.Short(), "to", url, diag.KeyError, err)
			}
			o.answered(url, err)
		})
	}
	wg.Wait()
}

// answered notes that one of the others has answered, or why it has not.
func (o *others) answered(url string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		delete(o.down, url)
	} else {
		o.down[url] = time.Now()
	}
}

func (o *others) isDown(url string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, down := o.down[url]
	return down && time.Since(at) < downFor
}

func (o *others) push(ctx context.Context, url string, user job.UserID, d blob.Digest) error {
	client, capability, err := o.client(url, trust.Capability{User: string(user), Digest: string(d), Mode: trust.Write})
	if err != nil {
		return err
	}
	f, err := o.store.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return client.Put(ctx, capability, d, fi.Size(), f, nil)
}

// elsewhere asks the others for a blob of the user's. The error is [blob.ErrNotFound] when none of them has it, and
// errOtherLater while one that may have it does not say so.
func (o *others) elsewhere(user job.UserID, d blob.Digest) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), heldTimeout)
	defer cancel() // the first that has it is enough
	urls := o.urls()
	answers := make(chan error, len(urls))
	for _, url := range urls {
		wg.Go(func() { answers <- o.stat(ctx, url, user, d) })
	}
	answer := fmt.Errorf("find blob %s: %w", d.Short(), blob.ErrNotFound)
	for range urls {
		err := <-answers
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, blob.ErrNotFound):
			answer = fmt.Errorf("%w: %w", errOtherLater, err)
		}
	}
	return answer
}

// stat asks one of the others.
func (o *others) stat(ctx context.Context, url string, user job.UserID, d blob.Digest) error {
	if o.isDown(url) {
		return fmt.Errorf("%s did not answer a moment ago", url)
	}
	client, capability, err := o.client(url, trust.Capability{User: string(user), Digest: string(d), Mode: trust.Write})
	if err != nil {
		return err
	}
	_, err = client.Stat(ctx, capability, d)
	switch {
	case err == nil || errors.Is(err, blob.ErrNotFound):
		o.answered(url, nil)
	case !errors.Is(ctx.Err(), context.Canceled):
		o.answered(url, err)
	}
	return err
}

// tables gives the tables of large clusters, from another matchmaker when need be.
func (h *Head) tables() queue.Tables {
	if h.others == nil {
		return h.store
	}
	return sharedTables{h.store, h.others}
}

type sharedTables struct {
	store  *blob.Store
	others *others
}

// Read implements [queue.Tables].
func (t sharedTables) Read(d blob.Digest, limit int64) ([]byte, error) {
	data, err := t.store.Read(d, limit)
	if !errors.Is(err, blob.ErrNotFound) {
		return data, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), tableTimeout)
	defer cancel()
	err = t.others.bring(ctx, queue.Need{Digest: d})
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", queue.ErrTableAway, err)
	}
	return t.store.Read(d, limit)
}

// mirrorEvery is how often mirror looks. A look that takes long is followed by a pause as long.
const mirrorEvery = 10 * time.Second

// wholeFor is how long an image of which all parts were found here is not looked at again: it has thousands. What is lost
// meanwhile is fetched when somebody asks for it.
const wholeFor = time.Hour

// mirror fetches what jobs need and is not here, until ctx ends: what was put while this matchmaker was away.
func (h *Head) mirror(ctx context.Context) error {
	whole := map[queue.Need]time.Time{}
	for {
		start := time.Now()
		needs, err := h.lacking(ctx, start, whole)
		fetched := 0
		for n := range needs {
			if h.others.has(n) {
				continue
			}
			err = h.others.fetch(ctx, n.User, n.Digest)
			if err != nil && !errors.Is(err, blob.ErrNotFound) {
				break // the next round begins with another one: maps have no order
			}
			if err == nil {
				fetched++
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			h.log.Debug("a file that jobs need is not here", diag.KeyError, err)
		case fetched > 0:
			h.log.Info("files fetched from other matchmakers", "files", fetched, diag.KeyTook, time.Since(start))
		}
		if pause.For(ctx, max(mirrorEvery, time.Since(start))) != nil {
			return nil
		}
	}
}

// lacking gives the blobs that jobs need, without the chunks of images that are here with all of theirs. whole is when
// each of those was found to be so.
func (h *Head) lacking(ctx context.Context, now time.Time, whole map[queue.Need]time.Time) (map[queue.Need]bool, error) {
	needs, err := h.neededBlobs(ctx, now, func(j *job.Job, img job.Image) ([]blob.Chunk, error) {
		image := queue.Need{Digest: img.Digest, User: j.User}
		if at, ok := whole[image]; ok && now.Sub(at) < wholeFor {
			return nil, nil
		}
		chunks, err := h.partsOf(ctx, j, img)
		missing := slices.ContainsFunc(chunks, func(c blob.Chunk) bool { return !h.others.has(queue.Need{Digest: c.Digest, User: j.User}) })
		if err != nil || missing || len(chunks) == 0 {
			delete(whole, image)
			return chunks, err
		}
		whole[image] = now
		return nil, nil
	})
	if err == nil {
		maps.DeleteFunc(whole, func(image queue.Need, _ time.Time) bool { return !needs[image] })
	}
	return needs, err
}
