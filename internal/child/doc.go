// Package child is TEST ONLY: programs that end with the process which has started them, whatever way it ends, so that
// a test which is killed leaves none behind.
package child
