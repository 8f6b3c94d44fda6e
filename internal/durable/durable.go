// Package durable makes what has been written to files last, also when the machine loses power the next moment.
//
// What is in a file its own Sync makes durable; the name by which it is found belongs to the directory. The package
// writes nothing itself.
package durable
