package qemutest_test

import (
	"testing"
)

func TestBoot(t *testing.T) {
	a := kind{"desk1", "max", "own", "own", "true"}
	c := kind{"desk2", "max,-avx2", "other", "other", "true"}
	l := newLab(t, a, c)
	ga := l.boot(a)
	gb := l.boot(c)
	l.awaitJoined(ga, gb)
	t.Log(l.Read("desk1.console"))
	t.Log(l.Read("desk2.console"))
	t.Log(ga.log())
	t.Log(l.Must("skua", "status", "--long"))
}
