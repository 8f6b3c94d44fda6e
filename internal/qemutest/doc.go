// Package qemutest is TEST ONLY: images of jobs are taken between machines that really differ, and what an idle agent costs is
// counted in instructions.
//
// The machines are virtual ones in which QEMU executes every instruction in software, so that they can have
// another processor and another kernel than this one. They boot what scripts/setup-qemu has made and
// $SKUA_QEMU names; without it the tests are skipped. scripts/test-qemu does both, and scripts/bench-desk for the
// measurement. Each runs the agent of this tree, which joins the pool of a matchmaker on this machine, and sees a directory of this machine's in which
// jobs leave their traces.
package qemutest
