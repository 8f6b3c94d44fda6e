package checkpoint

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Of CRIU's images: the file of a thread begins with two magic numbers and the length of one core_entry.
// The numbers of fields are those of images/criu-core.proto, which only ever adds some.
const (
	commonMagic = 0x54564319
	coreMagic   = 0x55053847

	coreThread  protowire.Number = 5  // core_entry.thread_core
	coreTask    protowire.Number = 3  // core_entry.tc
	seccompMode protowire.Number = 11 // of both

	modeFilter = 2
)

var errNoCore = errors.New("this is no image of a thread")

// forgetFilter makes the image of a thread, in place, one of a thread without filters. The numeral that says
// so takes one byte either way, so nothing else moves.
func forgetFilter(image []byte) error {
	const head = 12
	if len(image) < head || binary.LittleEndian.Uint32(image) != commonMagic || binary.LittleEndian.Uint32(image[4:]) != coreMagic {
		return errNoCore
	}
	n := binary.LittleEndian.Uint32(image[8:])
	if uint64(n) > uint64(len(image)-head) {
		return errNoCore
	}
	return eachField(image[head:head+int(n)], func(num protowire.Number, typ protowire.Type, part []byte) error {
		if typ != protowire.BytesType || num != coreThread && num != coreTask {
			return nil
		}
		inner, n := protowire.ConsumeBytes(part)
		if n < 0 {
			return errNoCore
		}
		return eachField(inner, func(num protowire.Number, typ protowire.Type, part []byte) error {
			if num == seccompMode && typ == protowire.VarintType && part[0] == modeFilter {
				part[0] = 0
			}
			return nil
		})
	})
}

// eachField calls do with each field of a message, its value at the beginning of part.
func eachField(message []byte, do func(num protowire.Number, typ protowire.Type, part []byte) error) error {
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errNoCore
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(num, typ, message); n < 0 {
			return errNoCore
		}
		if err := do(num, typ, message[:n]); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
