package checkpoint

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"skua/internal/fit"
)

// threadImage makes the image of a thread that uses registers, with words in the areas of some.
func threadImage(used uint64, packed bool, words map[protowire.Number][]uint64) []byte {
	field := func(b []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	xsave := protowire.AppendVarint(protowire.AppendTag(nil, xsaveInUse, protowire.VarintType), used)
	for num, list := range words {
		var all []byte
		for _, w := range list {
			if packed {
				all = protowire.AppendVarint(all, w)
			} else {
				xsave = protowire.AppendVarint(protowire.AppendTag(xsave, num, protowire.VarintType), w)
			}
		}
		if packed {
			xsave = field(xsave, num, all)
		}
	}
	fp := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 0x37f)
	fp = field(fp, fpXsave, xsave)
	thread := field(field(nil, 2, []byte{8, 1}), threadFPRegs, fp)
	m := field(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1), coreX86, thread)
	b := binary.LittleEndian.AppendUint32(nil, commonMagic)
	b = binary.LittleEndian.AppendUint32(b, coreMagic)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(m))), m...)
}

func TestParseRegisters(t *testing.T) {
	zeros, some := []uint64{0, 0, 0}, []uint64{0, 1 << 40, 0}
	for _, tt := range []struct {
		name         string
		image        []byte
		used, filled fit.Registers
	}{
		{"SSE only", threadImage(2, false, nil), 2, 0},
		{"AVX", threadImage(7, false, map[protowire.Number][]uint64{2: some}), 7, 4},
		{"AVX-512 that CRIU has left behind", threadImage(0xe7, false, map[protowire.Number][]uint64{2: some, 5: zeros, 6: zeros, 7: zeros}), 0xe7, 4},
		{"AVX-512", threadImage(0xe7, true, map[protowire.Number][]uint64{5: some, 6: zeros, 7: some}), 0xe7, 0xa0},
		{"what is not in use does not count", threadImage(2, true, map[protowire.Number][]uint64{5: some}), 2, 0},
		{"no such registers", coreImage(0, 0), 0, 0},
	} {
		used, filled, err := parseRegisters(tt.image)
		if err != nil || used != tt.used || filled != tt.filled {
			t.Errorf("%s: %#x and %#x (%v), want %#x and %#x", tt.name, used, filled, err, tt.used, tt.filled)
		}
	}
	whole := threadImage(7, false, map[protowire.Number][]uint64{2: some})
	for n := range whole {
		if _, _, err := parseRegisters(whole[:n]); err == nil {
			t.Errorf("the first %d bytes are taken for an image", n)
		}
	}
}

func FuzzParseRegisters(f *testing.F) {
	f.Add(threadImage(0xe7, true, map[protowire.Number][]uint64{5: {1}, 6: {0}}))
	f.Add(coreImage(2, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		used, filled, err := parseRegisters(b)
		if err == nil && filled&^used != 0 {
			t.Errorf("%#x are filled, and %#x in use", filled, used)
		}
	})
}
