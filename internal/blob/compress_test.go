package blob_test

import (
	"bytes"
	"strings"
	"testing"

	"skua/internal/blob"
)

func TestCompress(t *testing.T) {
	c, err := blob.NewCompressor()
	if err != nil {
		t.Fatal(err)
	}
	d, err := blob.NewDecompressor()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", strings.Repeat("out.1 ", 10_000)} {
		data := c.Append([]byte("before"), []byte(text))
		rest, ok := bytes.CutPrefix(data, []byte("before"))
		if !ok {
			t.Fatalf("%d bytes: what stood before is gone", len(text))
		}
		got, err := d.Text(rest, len(text))
		if err != nil || string(got) != text {
			t.Errorf("%d bytes came back as %d: %v", len(text), len(got), err)
		}
		for _, size := range []int{-1, len(text) + 1, len(text) - 1, 1 << 40} {
			if _, err := d.Text(rest, size); err == nil {
				t.Errorf("%d bytes were taken for %d", len(text), size)
			}
		}
		if len(text) > 1 {
			if _, err := d.Text(rest[:len(rest)-1], len(text)); err == nil {
				t.Errorf("%d bytes: a part was taken for the whole", len(text))
			}
		}
	}
}
