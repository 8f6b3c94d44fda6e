package checkpoint

import (
	"encoding/binary"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// regular makes the entry of a file; words are its build ID.
func regular(path string, size int64, mode uint64, packed bool, words ...uint32) []byte {
	varint := func(b []byte, num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
	}
	part := func(b []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	reg := varint(varint(nil, 1, 7), 2, 0o100000) // id and flags
	reg = part(reg, regName, []byte(path))
	if size >= 0 {
		reg = varint(reg, regSize, uint64(size))
	}
	reg = varint(reg, regMode, mode)
	var list []byte
	for _, w := range words {
		if packed {
			list = protowire.AppendVarint(list, uint64(w))
		} else {
			reg = varint(reg, regBuildID, uint64(w))
		}
	}
	if packed {
		reg = part(reg, regBuildID, list)
	}
	return part(varint(varint(nil, 1, 1), 2, 7), fileRegular, reg)
}

func filesImage(entries ...[]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, commonMagic)
	b = binary.LittleEndian.AppendUint32(b, filesMagic)
	for _, e := range entries {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(e))), e...)
	}
	return b
}

func TestParseFiles(t *testing.T) {
	socket := protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), []byte{8, 1})
	image := filesImage(
		regular("/usr/lib/libc.so.6", 1922136, 0o100755, false, 0x04030201, 0xffeeddcc),
		socket,
		regular("/usr/lib/libm.so.6", 907784, 0o100644, true, 0x04030201),
		regular("/scratch/out", 0, 0o100644, false),
		regular("/scratch", -1, 0o040755, false),
		regular("/dev/null", -1, 0o020666, false),
		regular("/dev/odd", 3, 0o020666, false),
	)
	want := []OpenFile{
		{"/usr/lib/libc.so.6", 1922136, []byte{1, 2, 3, 4, 0xcc, 0xdd, 0xee, 0xff}},
		{"/usr/lib/libm.so.6", 907784, []byte{1, 2, 3, 4}},
		{"/scratch/out", 0, nil},
	}
	got, err := parseFiles(image)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
	if got, err := parseFiles(filesImage()); err != nil || len(got) > 0 {
		t.Errorf("of no files there are %v (%v)", got, err)
	}
}

func TestParseFilesRefuses(t *testing.T) {
	good := filesImage(regular("/usr/lib/libc.so.6", 1922136, 0o100755, false, 1))
	for n := range len(good) {
		if got, err := parseFiles(good[:n]); err == nil && len(got) > 0 {
			t.Errorf("of the first %d bytes it makes %v", n, got)
		}
	}
	if got, err := parseFiles(coreImage(0, 0)); err == nil {
		t.Errorf("of an image of another kind it makes %v", got)
	}
}

func FuzzParseFiles(f *testing.F) {
	f.Add(filesImage(regular("/usr/lib/libc.so.6", 1922136, 0o100755, false, 1, 2), regular("/x", 1, 0o100644, true, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := parseFiles(b)
		if err != nil && files != nil {
			t.Errorf("files and %v", err)
		}
		for _, file := range files {
			if file.Size < 0 || len(file.BuildID) > maxBuildID {
				t.Errorf("%+v", file)
			}
		}
	})
}
