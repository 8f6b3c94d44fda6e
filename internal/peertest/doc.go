// Package peertest is TEST ONLY: it asks a real HTCondor what it makes of what Skua writes.
//
// The HTCondor is one in a root directory of its own, which scripts/setup-peer makes and $SKUA_PEER names;
// without it, or without the right to use it, every test is skipped. scripts/test-peer does both. Nothing
// of that root is written: each command sees it in a mount namespace that ends with the command.
package peertest
