package x11

import "errors"

// Requests of the core protocol for properties, and what they know by number.
const (
	internAtom, getProperty = 16, 20
	anyType                 = 0

	propertyMost = 64 // values of a property that are looked at
)

// Root is the root window of the first screen.
func (x *Conn) Root() uint32 { return x.setup.root }

// Atom asks for the number of a name.
func (x *Conn) Atom(name string) (uint32, error) {
	body := le.AppendUint16(nil, uint16(len(name)))
	body = append(body, 0, 0)
	body = append(body, name...)
	body = append(body, make([]byte, pad4(len(name)))...)
	msg, err := x.call(internAtom, 0, body, replyHead)
	if err != nil {
		return 0, err
	}
	return le.Uint32(msg[8:]), nil
}

// Numbers asks for the values of a property that is a list of numbers, of which it gives the first 64. It is false
// for ok if the window does not have it.
func (x *Conn) Numbers(window, name uint32) (values []uint32, ok bool, err error) {
	body := le.AppendUint32(nil, window)
	body = le.AppendUint32(body, name)
	body = le.AppendUint32(body, anyType)
	body = le.AppendUint32(body, 0) // from the beginning
	body = le.AppendUint32(body, propertyMost)
	msg, err := x.call(getProperty, 0, body, replyHead)
	if err != nil {
		return nil, false, err
	}
	return parseProperty(msg)
}

// parseProperty reads the answer to GetProperty.
func parseProperty(msg []byte) (values []uint32, ok bool, err error) {
	const numbers = 32 // bits of each
	if len(msg) < replyHead {
		return nil, false, errShort
	}
	if kind := le.Uint32(msg[8:]); kind == 0 {
		return nil, false, nil
	}
	if msg[1] != numbers {
		return nil, false, errors.New("property of the X server is no list of numbers")
	}
	n := le.Uint32(msg[16:])
	if n > propertyMost || len(msg) < replyHead+4*int(n) {
		return nil, false, errShort
	}
	for i := range int(n) {
		values = append(values, le.Uint32(msg[replyHead+4*i:]))
	}
	return values, true, nil
}
