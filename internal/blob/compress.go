package blob

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxCompressed is the largest text in bytes that a [Compressor] is for.
const maxCompressed = 4 << 20

// Compressor shrinks texts of up to 4 MiB with zstd. Equal texts give equal results in one build, which another
// version of the compressor need not repeat. It may be used concurrently.
type Compressor struct{ enc *zstd.Encoder }

// NewCompressor makes a Compressor.
func NewCompressor() (Compressor, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(zstdWindow), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	return Compressor{enc}, err
}

// Append shrinks a text and appends it to data.
func (c Compressor) Append(data, text []byte) []byte { return c.enc.EncodeAll(text, data) }

// Decompressor gives back what a [Compressor] shrank. It may be used concurrently.
type Decompressor struct{ dec *zstd.Decoder }

// NewDecompressor makes a Decompressor.
func NewDecompressor() (Decompressor, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxCompressed))
	return Decompressor{dec}, err
}

// Text gives back a text of size bytes. Data that claims more than that, or has less, is an error, and takes no
// more memory than the size.
func (d Decompressor) Text(data []byte, size int) ([]byte, error) {
	if size < 0 || size > maxCompressed {
		return nil, fmt.Errorf("a compressed text of %d bytes: %d are possible", size, maxCompressed)
	}
	var head zstd.Header
	if err := head.Decode(data); err != nil {
		return nil, fmt.Errorf("compressed text: %w", err)
	}
	if !head.HasFCS || head.FrameContentSize != uint64(size) {
		return nil, errors.New("compressed text: it is not of the size that it should have")
	}
	text, err := d.dec.DecodeAll(data, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("compressed text: %w", err)
	}
	if len(text) != size {
		return nil, errors.New("compressed text: it is not of the size that it should have")
	}
	return text, nil
}

// maxWindow bounds the memory that a stream of zstd from elsewhere may take.
const maxWindow = 128 << 20

// NewZstdReader reads a stream of zstd that somebody else has written. It must be closed.
func NewZstdReader(r io.Reader) (io.ReadCloser, error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return dec.IOReadCloser(), nil
}
