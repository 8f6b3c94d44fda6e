// Package systemdtest is TEST ONLY: Skua's services on a machine that systemd has booted.
//
// The machine is a container of systemd-nspawn with a network of its own, booted from a copy of the root
// directory that scripts/setup-systemd makes and $SKUA_SYSTEMD names; without it the test is skipped.
// scripts/test-systemd does both. What is typed there as an administrator is read from the documents that
// say so, so that these are tested as well.
package systemdtest
