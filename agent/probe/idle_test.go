package probe_test

import (
	"testing"

	"skua/agent/probe"
)

func TestIdleTime(t *testing.T) {
	first, err := probe.IdleTime()
	if err != nil {
		t.Fatal(err)
	}
	if then, err := probe.IdleTime(); err != nil || first <= 0 || then < first {
		t.Errorf("idle for %v and then for %v (%v)", first, then, err)
	}
}
