//go:build !unix

package checkpoint

// openPlain is nothing: there are no images of processes here.
const openPlain = 0
