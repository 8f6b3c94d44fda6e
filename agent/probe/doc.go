// Package probe tells what the machine is and whether its owner is there.
//
// [Facts] gives the machine's part of a slot's ad under HTCondor's names. What cannot be read is left
// out, so that a Requirements over it is undefined, never wrong. A [LoadMeter] tells the owner's load
// from that of our own jobs.
//
// A [Watcher] hears of the owner's input from the system instead of asking for it: alarms of X
// servers, inotify on terminals. While nobody touches the machine it does not run at all. It sees
// that there was input and when, never what; it does not read devices, keys or screens. [Conditions]
// follow what else changes about a machine: power, temperature, a full screen, inhibitors, the
// network's price, programs that want to be alone. [Scripts] run the administrator's own probes. What
// to do about any of it is not decided here.
package probe
