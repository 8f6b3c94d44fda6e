// Package realpool is TEST ONLY: a whole pool of real programs on this machine.
//
// A [Pool] is a matchmaker, its agents and a user's home, each with files of its own; the programs are
// built from this tree and meet over TLS on a free port of the loopback address. Jobs run in the real
// sandbox, and leave their traces in a journal outside of Skua, a directory that the machines' policy
// shares with jobs: what really ran, when and how often is read there, not from what Skua says.
//
// [StartHeads] starts several matchmakers on a NATS cluster.
//
// Nothing here waits for a fixed time: tests look until what they want is there, or a deadline passes.
// Every process that a pool has started, and every one that its programs have, is gone when its test
// has ended; whatever needs force for that is reported as a failure by the tests that are about it.
package realpool
