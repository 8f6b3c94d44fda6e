package blob

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// BenchmarkStages are the parts of the way of a chunk, each by itself: what an image costs at least is what they add up
// to.
func BenchmarkStages(b *testing.B) {
	const size = defaultChunkSize
	random, numbers := make([]byte, headroom+size), make([]byte, headroom+size)
	rand.NewChaCha8([32]byte{1}).Read(random)
	for i := range size / 8 {
		binary.LittleEndian.PutUint64(numbers[headroom+8*i:], uint64(i))
	}
	s, err := newSealer(NewKey())
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	run := func(name string, do func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				do()
			}
		})
	}
	run("zero", func() { allZero(zeroChunk[:]) })
	run("sha256", func() { Sum(random) })
	mac := hmac.New(sha256.New, make([]byte, 32))
	run("hmac", func() { mac.Reset(); mac.Write(random); mac.Sum(nil) })
	nonce := make([]byte, nonceSize)
	out := make([]byte, 0, size+sealOverhead)
	run("aead", func() { out = s.aead.Seal(out[:0], nonce, random, nil) })
	for _, tt := range []struct {
		name string
		data []byte
	}{{"random", random}, {"numbers", numbers}} {
		run("zstd/"+tt.name, func() { s.plain = s.enc.EncodeAll(tt.data[headroom:], s.plain[:0]) })
		run("unzstd/"+tt.name, func() { s.text, _ = s.dec.DecodeAll(s.plain, s.text[:0]) })
		run("seal/"+tt.name, func() { s.seal(chunkKind, tt.data) })
		d, sealed := s.seal(chunkKind, tt.data)
		sealed = bytes.Clone(sealed)
		run("open/"+tt.name, func() {
			if _, err := s.open(chunkKind, d, sealed, size); err != nil {
				b.Fatal(err)
			}
		})
	}
}

var zeroChunk [defaultChunkSize]byte

// BenchmarkStore writes a hundred chunks to the disk: into a cache, each made durable by itself, and all together.
func BenchmarkStore(b *testing.B) {
	const chunks, size = 100, defaultChunkSize
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	for _, tt := range []struct {
		name  string
		cache bool
		later bool
	}{{"cache", true, false}, {"each", false, false}, {"later", false, true}} {
		b.Run(tt.name, func(b *testing.B) {
			s, err := OpenStore(StoreConfig{Dir: b.TempDir(), NoSync: tt.cache})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(chunks * size)
			for i := 0; b.Loop(); i++ {
				var ds []Digest
				for n := range chunks {
					binary.LittleEndian.PutUint64(data, uint64(i*chunks+n))
					d := Sum(data)
					ds = append(ds, d)
					if err := putOne(s, d, data, tt.cache, tt.later); err != nil {
						b.Fatal(err)
					}
				}
				if missing, err := s.Settle(ds...); err != nil || len(missing) > 0 {
					b.Fatal(missing, err)
				}
				b.StopTimer()
				for _, d := range ds {
					s.Remove(d)
				}
				b.StartTimer()
			}
		})
	}
}

func putOne(s *Store, d Digest, data []byte, cache, later bool) error {
	if cache {
		_, err := s.putVerified(d, data)
		return err
	}
	u, err := s.Upload(d, "u")
	if err != nil {
		return err
	}
	defer u.Close()
	if _, err := u.Write(data); err != nil {
		return err
	}
	return u.commit(later)
}
