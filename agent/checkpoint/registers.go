package checkpoint

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"skua/internal/fit"
)

// Of the image of a thread, the numbers of fields of images/criu-core.proto and images/core-x86.proto.
const (
	coreX86      protowire.Number = 2  // core_entry.thread_info
	threadFPRegs protowire.Number = 3  // thread_info_x86.fpregs
	fpXsave      protowire.Number = 13 // user_x86_fpregs_entry.xsave
	xsaveInUse   protowire.Number = 1  // user_x86_xsave_entry.xstate_bv
)

// areas are the fields of user_x86_xsave_entry that hold registers, by the bits of these.
var areas = map[protowire.Number]fit.Registers{2: 1 << 2, 5: 1 << 5, 6: 1 << 6, 7: 1 << 7}

// parseRegisters says which sets of registers the thread of an image uses, and which of those hold anything but zeros. An
// image of another architecture gives none.
func parseRegisters(image []byte) (used, filled fit.Registers, err error) {
	const head = 12
	if len(image) < head || binary.LittleEndian.Uint32(image) != commonMagic || binary.LittleEndian.Uint32(image[4:]) != coreMagic {
		return 0, 0, errNoCore
	}
	n := binary.LittleEndian.Uint32(image[8:])
	if uint64(n) > uint64(len(image)-head) {
		return 0, 0, errNoCore
	}
	err = within(image[head:head+int(n)], []protowire.Number{coreX86, threadFPRegs, fpXsave}, func(num protowire.Number, typ protowire.Type, part []byte) error {
		switch area := areas[num]; {
		case num == xsaveInUse && typ == protowire.VarintType:
			bits, _ := protowire.ConsumeVarint(part)
			used |= fit.Registers(bits)
		case area != 0 && typ == protowire.VarintType:
			if word, _ := protowire.ConsumeVarint(part); word != 0 {
				filled |= area
			}
		case area != 0 && typ == protowire.BytesType: // packed
			words, _ := protowire.ConsumeBytes(part)
			for _, b := range words {
				if b&^0x80 != 0 {
					filled |= area
				}
			}
		}
		return nil
	})
	return used, filled & used, err
}

// within calls do with each field of the messages that lie at a path of fields in a message.
func within(message []byte, path []protowire.Number, do func(num protowire.Number, typ protowire.Type, part []byte) error) error {
	if len(path) == 0 {
		return eachField(message, do)
	}
	return eachField(message, func(num protowire.Number, typ protowire.Type, part []byte) error {
		if num != path[0] || typ != protowire.BytesType {
			return nil
		}
		inner, n := protowire.ConsumeBytes(part)
		if n < 0 {
			return errNoCore
		}
		return within(inner, path[1:], do)
	})
}
