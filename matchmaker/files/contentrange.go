package files

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// bodyRange is which part of a blob a PUT carries.
type bodyRange struct {
	first  int64 // offset of its first byte
	length int64 // bytes in the body
	total  int64 // size of the blob
}

// parseBody reads the range of a PUT: all of the blob, or what Content-Range says. On an error code is
// the status to answer with.
func parseBody(r *http.Request) (rng bodyRange, code int, err error) {
	if r.ContentLength < 0 {
		return rng, http.StatusLengthRequired, errors.New("the length of the body must be given")
	}
	h := r.Header.Get("Content-Range")
	if h == "" {
		return bodyRange{0, r.ContentLength, r.ContentLength}, 0, nil
	}
	rng, err = parseContentRange(h)
	if err != nil {
		return rng, http.StatusRequestedRangeNotSatisfiable, err
	}
	if rng.length != r.ContentLength {
		return rng, http.StatusRequestedRangeNotSatisfiable,
			fmt.Errorf("Content-Range has %d bytes, the body %d", rng.length, r.ContentLength)
	}
	return rng, 0, nil
}

// parseContentRange reads "bytes 0-4/10" (RFC 9110, 14.4), and "bytes */10" for an empty body that asks
// to finish an upload all of whose bytes are here.
func parseContentRange(h string) (bodyRange, error) {
	bad := fmt.Errorf("Content-Range %.80q: want bytes FIRST-LAST/TOTAL", h)
	rest, ok := strings.CutPrefix(h, "bytes ")
	span, totalText, ok2 := strings.Cut(rest, "/")
	total, err := parseSize(totalText)
	if !ok || !ok2 || err != nil {
		return bodyRange{}, bad
	}
	if span == "*" {
		return bodyRange{first: total, total: total}, nil
	}
	a, b, ok := strings.Cut(span, "-")
	first, err1 := parseSize(a)
	last, err2 := parseSize(b)
	if !ok || err1 != nil || err2 != nil || first > last || last >= total {
		return bodyRange{}, bad
	}
	return bodyRange{first, last - first + 1, total}, nil
}

// parseSize reads a plain decimal number: ParseUint would do but for the sign bit of int64.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}
