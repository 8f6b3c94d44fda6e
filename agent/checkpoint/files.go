package checkpoint

import (
	"encoding/binary"
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// OpenFile is a plain file that the tree has open or mapped, as CRIU compares it at the restore.
type OpenFile struct {
	Path    string
	Size    int64
	BuildID []byte // of an executable or a library that has one
}

// filesName is the image that names all files. Like every image it begins with two magic numbers, and of this
// kind many entries follow, each after its length. The numbers of fields are those of images/fdinfo.proto and
// images/regfile.proto.
const (
	filesName  = "files.img"
	filesMagic = 0x56303138

	fileRegular protowire.Number = 3 // file_entry.reg

	regName    protowire.Number = 6 // of reg_file_entry
	regSize    protowire.Number = 8
	regMode    protowire.Number = 10
	regBuildID protowire.Number = 11 // words of four bytes, the first of them the lowest

	modeType, modeRegular = 0o170000, 0o100000 // S_IFMT, S_IFREG
)

const (
	maxFilesImage = 32 << 20 // of a job with a hundred thousand open files
	maxBuildID    = 64       // SHA-512
)

var errNoFiles = errors.New("this is no image of a job's files")

// parseFiles gives the plain files of an image. It may come from another machine.
func parseFiles(image []byte) ([]OpenFile, error) {
	const head = 8
	if len(image) < head || binary.LittleEndian.Uint32(image) != commonMagic || binary.LittleEndian.Uint32(image[4:]) != filesMagic {
		return nil, errNoFiles
	}
	var all []OpenFile
	for image = image[head:]; len(image) > 0; {
		const length = 4
		if len(image) < length {
			return nil, errNoFiles
		}
		n := binary.LittleEndian.Uint32(image)
		image = image[length:]
		if uint64(n) > uint64(len(image)) {
			return nil, errNoFiles
		}
		err := eachField(image[:n], func(num protowire.Number, typ protowire.Type, value []byte) error {
			if num != fileRegular || typ != protowire.BytesType {
				return nil
			}
			entry, _ := protowire.ConsumeBytes(value) // eachField has looked
			f, ok, err := parseRegular(entry)
			if ok {
				all = append(all, f)
			}
			return err
		})
		if err != nil {
			return nil, errNoFiles
		}
		image = image[n:]
	}
	return all, nil
}

// parseRegular reads an entry. It is false for a directory, a device and the like, which have no size.
func parseRegular(entry []byte) (f OpenFile, ok bool, err error) {
	var mode uint64
	f.Size = -1
	err = eachField(entry, func(num protowire.Number, typ protowire.Type, value []byte) error {
		switch {
		case num == regName && typ == protowire.BytesType:
			b, _ := protowire.ConsumeBytes(value)
			f.Path = string(b)
		case num == regSize && typ == protowire.VarintType:
			n, _ := protowire.ConsumeVarint(value)
			if n > math.MaxInt64 {
				return errNoFiles
			}
			f.Size = int64(n)
		case num == regMode && typ == protowire.VarintType:
			mode, _ = protowire.ConsumeVarint(value)
		case num == regBuildID && typ == protowire.VarintType:
			n, _ := protowire.ConsumeVarint(value)
			f.BuildID = appendWord(f.BuildID, n)
		case num == regBuildID && typ == protowire.BytesType: // packed
			b, _ := protowire.ConsumeBytes(value)
			for len(b) > 0 {
				n, size := protowire.ConsumeVarint(b)
				if size < 0 {
					return errNoFiles
				}
				f.BuildID = appendWord(f.BuildID, n)
				b = b[size:]
			}
		}
		return nil
	})
	return f, f.Size >= 0 && mode&modeType == modeRegular, err
}

func appendWord(id []byte, word uint64) []byte {
	if len(id) >= maxBuildID {
		return id
	}
	return binary.LittleEndian.AppendUint32(id, uint32(word))
}
