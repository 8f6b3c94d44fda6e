package checkpoint

import (
	"bytes"
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// coreImage makes the image of a thread with these modes, in the two places where they may stand.
func coreImage(task, thread byte) []byte {
	field := func(b []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	mode := func(m byte) []byte {
		b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 77)
		b = protowire.AppendVarint(protowire.AppendTag(b, seccompMode, protowire.VarintType), uint64(m))
		return protowire.AppendVarint(protowire.AppendTag(b, 12, protowire.VarintType), 2)
	}
	m := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	m = field(m, 2, []byte{0x58, 2}) // registers, which look like a mode
	m = field(field(m, coreTask, mode(task)), coreThread, mode(thread))
	b := binary.LittleEndian.AppendUint32(nil, commonMagic)
	b = binary.LittleEndian.AppendUint32(b, coreMagic)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(m))), m...)
}

// The image of a thread with a filter becomes one of a thread without, and nothing else of it changes.
func TestForgetFilter(t *testing.T) {
	for _, tt := range []struct{ task, thread, wantTask, wantThread byte }{
		{2, 2, 0, 0}, {0, 2, 0, 0}, {0, 0, 0, 0}, {1, 1, 1, 1}, // strict mode is the job's own
	} {
		got := coreImage(tt.task, tt.thread)
		if err := forgetFilter(got); err != nil {
			t.Fatal(err)
		}
		if want := coreImage(tt.wantTask, tt.wantThread); !bytes.Equal(got, want) {
			t.Errorf("modes %d and %d become\n%x, want\n%x", tt.task, tt.thread, got, want)
		}
	}
	whole := coreImage(2, 2)
	for n := range whole {
		if err := forgetFilter(bytes.Clone(whole[:n])); err == nil {
			t.Errorf("the first %d bytes are taken for an image", n)
		}
	}
	other := coreImage(2, 2)
	other[4]++
	if err := forgetFilter(other); err == nil {
		t.Error("another kind of image is taken for that of a thread")
	}
}

func FuzzForgetFilter(f *testing.F) {
	f.Add(coreImage(2, 2))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		once := bytes.Clone(b)
		if forgetFilter(once) != nil {
			return
		}
		twice := bytes.Clone(once)
		if err := forgetFilter(twice); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x becomes %x, and that %x (%v)", b, once, twice, err)
		}
		if len(once) != len(b) {
			t.Errorf("%x has become longer or shorter", b)
		}
	})
}
