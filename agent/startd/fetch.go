package startd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/policy"
)

// fetchable are the kinds of URL that an input can have.
var fetchable = []string{"http", "https"}

// Bounds of a download.
const (
	fetchTries = 5
	fetchPause = time.Second // before the second try; it doubles from there
	fetchStall = time.Minute // without a byte
	redirects  = 10
)

// mostInputs is how many bytes the job's inputs may have together: what it allows itself, and its disk.
func (t *tenant) mostInputs() int64 {
	most := t.mostDisk()
	if own := t.cmd.Transfers.MaxIn; own >= 0 {
		most = min(most, own)
	}
	return most
}

// mostDisk is how many bytes the scratch directory may have.
func (t *tenant) mostDisk() int64 {
	if t.limits.Disk > 0 {
		return t.limits.Disk
	}
	return math.MaxInt64
}

// inputsLeft is how many of them the inputs that are named by URLs may have, after the others. It is an error if
// those are too large themselves, by what their submitter says of them; [Files] takes no more than that.
func (t *tenant) inputsLeft() (int64, error) {
	var sum int64
	for _, f := range t.offer.Inputs {
		if !t.isRuntime(f) {
			sum += min(f.Size, math.MaxInt64-sum)
		}
	}
	if most := t.mostInputs(); sum <= most {
		return most - sum, nil
	}
	return 0, t.inputsTooLarge(size(sum))
}

// inputsTooLarge has a job held whose inputs are so large.
func (t *tenant) inputsTooLarge(sum string) error {
	if most := t.cmd.Transfers.MaxIn; most >= 0 && most == t.mostInputs() {
		return &holdError{code: job.HoldInputTooLarge, reason: fmt.Sprintf(
			"the job's inputs are %s, and its max_transfer_input_mb allows %s", sum, size(most))}
	}
	return t.tooLargeForDisk("the job's inputs", sum)
}

// tooLargeForDisk has a job held that brings so much, unless it has asked for as much disk as that takes and the
// slot has less than it advertised when they were matched: then it is not the job that is to blame.
func (t *tenant) tooLargeForDisk(what, sum string) error {
	if asked := policy.RequestOf(t.offer.Ad, t.k.shareAd()).Disk << 10; asked > t.limits.Disk {
		return fmt.Errorf("%w: the job asked for %s of disk, and %s has %s now", errStaging, size(asked), t.k.name, size(t.limits.Disk))
	}
	return &holdError{code: job.HoldOutOfResources, subcode: job.HoldOutOfDisk, reason: fmt.Sprintf(
		"%s are %s, and %s allows %s of disk; request_disk asks for a slot with more", what, sum, t.k.name, size(t.limits.Disk))}
}

// otherSize has a job held that has brought something else than it said.
func otherSize(what string, f job.File, err error) error {
	return &holdError{code: job.HoldTransferInput, reason: fmt.Sprintf("%s is not what was submitted, a file of %s: %v", what, size(f.Size), err)}
}

// download fetches an input by its URL, at most so many bytes, unless it is there. It is tried several
// times, and goes on where it was; in the end the job is held, since what its URL says is its own.
func (t *tenant) download(ctx context.Context, root *os.Root, from string, left int64, have func(*os.Root, string) bool) (int64, error) {
	failed := func(err error) error {
		var answer *answerError
		errors.As(err, &answer)
		return &holdError{code: job.HoldTransferInput, subcode: answer.code(), reason: fmt.Sprintf("input %s cannot be fetched: %v", redacted(from), err)}
	}
	u, err := url.Parse(from)
	if err != nil {
		return 0, failed(errors.New("it is not a URL"))
	}
	name := path.Base(u.Path)
	switch {
	case !slices.Contains(fetchable, strings.ToLower(u.Scheme)):
		return 0, failed(fmt.Errorf("machines fetch %s only", strings.Join(fetchable, " and ")))
	case name == "." || name == "/" || name == ".." || strings.ContainsAny(name, "\x00/\\"):
		return 0, failed(errors.New("it names no file"))
	case have(root, name):
		return 0, nil
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errStaging, err)
	}
	defer f.Close()
	d := download{url: u, into: f, most: left, client: t.k.d.web}
	begun := time.Now()
	for try, again := 1, fetchPause; ; try, again = try+1, 2*again {
		err = d.attempt(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return d.got, ctx.Err()
		}
		if errors.Is(err, errTooLarge) {
			return d.got, t.inputsTooLarge("more than " + size(t.mostInputs()))
		}
		if errors.As(err, new(*finalError)) || try == fetchTries {
			return d.got, failed(err)
		}
		t.log.Info("an input cannot be fetched yet", "url", redacted(from), diag.KeyBytes, d.got, diag.KeyError, err)
		if pause.For(ctx, again) != nil {
			return d.got, ctx.Err()
		}
	}
	t.log.Info("an input was fetched", "url", redacted(from), diag.KeyBytes, d.got, diag.KeyTook, time.Since(begun))
	if err := errors.Join(f.Close(), root.Chtimes(name, inputTime, inputTime)); err != nil {
		return d.got, fmt.Errorf("%w: %w", errStaging, err)
	}
	return d.got, nil
}

// redacted is a URL as it can be shown: without a password, and without a query, which may hold one.
func redacted(from string) string {
	u, err := url.Parse(from)
	if err != nil {
		return strconv.Quote(from)
	}
	if u.RawQuery != "" {
		u.RawQuery = "..."
	}
	return u.Redacted()
}

// download is a file that is being fetched.
type download struct {
	client *http.Client
	url    *url.URL
	into   *os.File
	most   int64
	got    int64  // bytes that are there
	tag    string // of the content that they are part of; empty when the server cannot go on
}

// finalError is one that another try would not cure.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// answerError is a server's answer that is no content.
type answerError struct{ res *http.Response }

func (e *answerError) Error() string { return "the server answered " + e.res.Status }

func (e *answerError) code() int {
	if e == nil {
		return 0
	}
	return e.res.StatusCode
}

var errTooLarge = errors.New("it is too large")

// attempt fetches what is missing.
func (d *download) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(fetchStall, func() { cancel(fmt.Errorf("nothing came for %v", fetchStall)) })
	defer stalled.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return &finalError{err}
	}
	if d.got > 0 && d.tag != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.got))
		req.Header.Set("If-Range", d.tag)
	}
	res, err := d.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL, which is named already
		}
		return err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusPartialContent && strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.got)):
	case res.StatusCode == http.StatusOK:
		if err := d.again(res.Header.Get("ETag")); err != nil {
			return &finalError{err}
		}
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout:
		return &answerError{res}
	default:
		return &finalError{&answerError{res}}
	}
	if res.ContentLength > d.most-d.got {
		return errTooLarge
	}
	body := io.LimitReader(res.Body, d.most-d.got)
	n, err := io.Copy(d.into, readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		stalled.Reset(fetchStall)
		return n, err
	}))
	d.got += n
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	if more, _ := res.Body.Read(make([]byte, 1)); more > 0 {
		return errTooLarge
	}
	return nil
}

// again begins the file anew. Only a strong tag tells equal contents.
func (d *download) again(tag string) error {
	if d.tag = tag; strings.HasPrefix(tag, "W/") {
		d.tag = ""
	}
	d.got = 0
	if err := d.into.Truncate(0); err != nil {
		return err
	}
	_, err := d.into.Seek(0, io.SeekStart)
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// newWeb makes the client that fetches inputs. A URL is the word of a stranger, fetched in the machine's
// name: it must not reach what only the machine itself can, such as services on its loopback address, and
// check, asked for each address, sees to that.
func newWeb(check func(address string) error) *http.Client {
	dial := net.Dialer{Timeout: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		return check(address)
	}}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 30 * time.Second, DisableKeepAlives: true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= redirects {
				return &finalError{fmt.Errorf("it leads on more than %d times", redirects)}
			}
			if !slices.Contains(fetchable, req.URL.Scheme) {
				return &finalError{fmt.Errorf("it leads on to a URL with %q", req.URL.Scheme)}
			}
			return nil
		},
	}
}

// checkAddress refuses the addresses at which the machine reaches itself: no firewall stands between.
func checkAddress(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	if a := at.Addr().Unmap(); itself(a, own) {
		return &finalError{fmt.Errorf("%s is an address of the machine itself", a)}
	}
	return nil
}

// itself says whether a machine whose interfaces have those addresses reaches itself at a.
func itself(a netip.Addr, interfaces []net.Addr) bool {
	if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalMulticast() {
		return true
	}
	return slices.ContainsFunc(interfaces, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr().Unmap() == a
	})
}
