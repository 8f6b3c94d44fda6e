package blob

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxCompressed is the largest text in bytes that [Compress] is for.
const maxCompressed = 4 << 20

// Compress shrinks a text of up to 4 MiB with zstd. Equal texts give equal results in one build, which another
// version of the compressor need not repeat.
func Compress(dst, text []byte) []byte { return compressor().EncodeAll(text, dst) }

// Decompress gives back a text of size bytes. Data that claims more than that, or has less, is an error, and
// takes no more memory than the size.
func Decompress(data []byte, size int) ([]byte, error) {
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
	text, err := decompressor().DecodeAll(data, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("compressed text: %w", err)
	}
	if len(text) != size {
		return nil, errors.New("compressed text: it is not of the size that it should have")
	}
	return text, nil
}

// Both serve any number of callers at a time and are made when they are first needed.
var (
	compressor = sync.OnceValue(func() *zstd.Encoder {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdWindow), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // the options are constants
		}
		return enc
	})
	decompressor = sync.OnceValue(func() *zstd.Decoder {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxCompressed))
		if err != nil {
			panic(err) // the options are constants
		}
		return dec
	})
)
