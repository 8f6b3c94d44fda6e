package rootarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// What does not count is read to its end no more than what does.
func TestWhatIsSkippedIsBounded(t *testing.T) {
	const size, most = 1 << 30, 1 << 20
	for _, tt := range []struct {
		name string
		file string
		skip int64
		stop int64 // after so many bytes ctx ends
		want error
	}{
		{"more than is skipped", "var/much", most, size, ErrBad},
		{"ctx ends while it is skipped", "var/much", size, most, context.Canceled},
		{"ctx ends while it is read", "usr/much", size, most, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var head bytes.Buffer
			w := tar.NewWriter(&head)
			err := errors.Join(
				w.WriteHeader(&tar.Header{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755}),
				w.WriteHeader(&tar.Header{Name: tt.file, Typeflag: tar.TypeReg, Size: size}),
			)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			read := int64(0)
			text := io.MultiReader(&head, readerFunc(func(p []byte) (int, error) {
				if read += int64(len(p)); read > tt.stop {
					stop()
				}
				clear(p)
				return len(p), nil
			}))
			_, err = walk(ctx, text, tt.skip, func(e Entry) error {
				if _, err := io.Copy(io.Discard, e.Content); err != nil {
					return bad("%w", err) // as unpacking does
				}
				return nil
			})
			if !errors.Is(err, tt.want) || errors.Is(err, ErrBad) != (tt.want == ErrBad) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.want == ErrBad && !strings.Contains(err.Error(), "outside of /usr") {
				t.Errorf("it does not say why: %v", err)
			}
			if read > 2*most {
				t.Errorf("%d bytes have been read", read)
			}
		})
	}
}
