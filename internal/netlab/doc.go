// Package netlab gives tests and the demo machines of their own: network namespaces that meet on a bridge
// in a namespace of its own, with faults on the cables between them.
//
// Nothing of this machine's own network is touched, and what a lab has made goes with [Lab.Close]. It needs
// root, and the commands ip, tc and, for faults, nft. On other systems than Linux it is empty.
package netlab
