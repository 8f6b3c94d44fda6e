package blob

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/klauspost/compress/zstd"
)

// Key encrypts the trees of one job. It prints as "[key]", so that it does not end in a log by
// accident; [Key.MarshalText] gives it away.
type Key [32]byte

// NewKey makes a random key.
func NewKey() Key {
	var k Key
	rand.Read(k[:]) // never fails: crypto/rand ends the program instead
	return k
}

func (k Key) String() string { return "[key]" }

// GoString keeps the key out of %#v as well.
func (k Key) GoString() string { return "blob.Key{}" }

// MarshalText writes the key in hexadecimal.
func (k Key) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *Key) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(k) {
		return fmt.Errorf("a key has %d hexadecimal digits, not %d", 2*len(k), len(text))
	}
	if _, err := hex.Decode(k[:], text); err != nil {
		return errors.New("a key is written in hexadecimal digits") // without quoting it
	}
	return nil
}

// What a sealed blob is, as the cipher's additional data: a chunk cannot pass for a manifest.
const (
	chunkKind    = "skua chunk 1"
	manifestKind = "skua manifest 1"
)

// A sealed blob is: one byte of format, the nonce, and the ciphertext of one byte of codec and the data.
const (
	sealFormat    = 1
	codecRaw      = 0
	codecZstd     = 1
	nonceSize     = 12
	sealOverhead  = 1 + nonceSize + 1 + 16 // what sealing adds at most, the tag being 16 bytes
	headroom      = 1                      // bytes before what is sealed, for the codec
	zstdWindow    = 1 << 20                // a chunk fits in it; larger only costs memory
	maxSealedData = maxManifestBytes       // the largest thing ever sealed
)

// sealer compresses and encrypts, and back. It keeps its buffers, since memory that is new to the process
// costs more than all that is done with it, and belongs to one goroutine.
//
// Encryption is deterministic, so that the chunk that has not changed since the last checkpoint gets
// the same address and need not travel again. The nonce is an HMAC, under a key of its own, of what is
// encrypted: the compressed bytes, not the plain ones, or the output of another version of the
// compressor would be encrypted under the same nonce, which AES-GCM does not forgive. Two different
// texts of one job share a nonce with probability n²/2⁹⁷, 2⁻⁵⁷ for the million chunks of a terabyte.
// What an onlooker learns is which chunks of one job are equal; other jobs have other keys.
type sealer struct {
	aead   cipher.AEAD
	mac    hash.Hash
	enc    *zstd.Encoder
	dec    *zstd.Decoder
	plain  []byte // codec and data; of what was opened last, or a compressed text
	sealed []byte // what was sealed last
	text   []byte // what was opened last, if that was compressed
}

func newSealer(key Key) (*sealer, error) {
	encKey, err := hkdf.Expand(sha256.New, key[:], "skua blob encryption", 32)
	if err != nil {
		return nil, err
	}
	macKey, err := hkdf.Expand(sha256.New, key[:], "skua blob nonce", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(encKey)
	if err != nil {
		return nil, err
	}
	s := &sealer{mac: hmac.New(sha256.New, macKey)}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(zstdWindow), zstd.WithSingleSegment(true), // which always states its size
		zstd.WithEncoderCRC(false)) // the cipher authenticates
	if err != nil {
		return nil, err
	}
	s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxSealedData))
	return s, err
}

// close gives back the decoder's buffers.
func (s *sealer) close() { s.dec.Close() }

// seal returns the sealed form of what is in data after its headroom, and its address. It is valid until the next call.
func (s *sealer) seal(kind string, data []byte) (Digest, []byte) {
	// Trying it is cheap: the compressor hurries through what it finds nothing in.
	s.plain = s.enc.EncodeAll(data[headroom:], append(s.plain[:0], codecZstd))
	plain := s.plain
	if len(plain) > len(data) {
		data[0] = codecRaw
		plain = data
	}
	s.mac.Reset()
	s.mac.Write([]byte(kind))
	s.mac.Write(plain)
	s.sealed = append(s.sealed[:0], sealFormat)
	s.sealed = s.mac.Sum(s.sealed)[:1+nonceSize]
	s.sealed = s.aead.Seal(s.sealed, s.sealed[1:1+nonceSize], plain, []byte(kind))
	return Sum(s.sealed), s.sealed
}

// open verifies that sealed is blob d and returns the data in it, at most limit bytes, which stays
// valid until the next call.
func (s *sealer) open(kind string, d Digest, sealed []byte, limit int64) ([]byte, error) {
	if got := Sum(sealed); got != d {
		return nil, mismatch(d, got)
	}
	if len(sealed) < sealOverhead {
		return nil, fmt.Errorf("blob %s: %w: %d bytes are too few", d.Short(), ErrSealed, len(sealed))
	}
	if sealed[0] != sealFormat {
		return nil, fmt.Errorf("blob %s: %w: format %d is not known here", d.Short(), ErrSealed, sealed[0])
	}
	var err error
	s.plain, err = s.aead.Open(s.plain[:0], sealed[1:1+nonceSize], sealed[1+nonceSize:], []byte(kind))
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w: another key, or another kind of content", d.Short(), ErrSealed)
	}
	codec, data := s.plain[0], s.plain[headroom:]
	switch codec {
	case codecRaw:
	case codecZstd:
		var h zstd.Header
		if err := h.Decode(data); err != nil || !h.HasFCS || h.FrameContentSize > uint64(limit) {
			return nil, fmt.Errorf("blob %s: %w: compressed data that says no size up to %d", d.Short(), ErrSealed, limit)
		}
		if s.text, err = s.dec.DecodeAll(data, s.text[:0]); err != nil {
			return nil, fmt.Errorf("blob %s: %w: %w", d.Short(), ErrSealed, err)
		}
		data = s.text
	default:
		return nil, fmt.Errorf("blob %s: %w: codec %d is not known here", d.Short(), ErrSealed, codec)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("blob %s: %w: %d bytes of content, at most %d expected", d.Short(), ErrTooLarge, len(data), limit)
	}
	return data, nil
}
