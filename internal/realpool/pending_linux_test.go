package realpool_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/realpool"
)

// TestPending: a machine that joined with a token of the cautious kind takes part when an administrator has approved of it.
func TestPending(t *testing.T) {
	p := realpool.Start(t, bin, realpool.Config{Agents: 1})
	p.Write("new-policy.toml", "preset = \"dedicated\"\n")
	config := p.Write("new.toml", "name = \"new\"\ndir = \""+filepath.Join(p.Dir, "new")+"\"\npolicy = \"new-policy.toml\"\nowner = false\n")
	said := p.Must("skua-agent", "--config", config, "join", p.Admin("token", "agent", "--pending"))
	_, id, ok := strings.Cut(strings.TrimSpace(said), "skua-matchmaker approve ")
	if !ok {
		t.Fatalf("join does not say what is missing: %s", said)
	}
	agent := p.Launch("new", "skua-agent", "--config", config, "run")
	p.Await("the new machine is connected", func() bool { return strings.Contains(agent.Log(), "connected to the bus") })
	machines := func() string { return p.Must("skua", "status", "-af", "Machine") }
	if all := machines(); strings.Contains(all, "new") {
		t.Errorf("a machine that waits for approval is in the pool:\n%s", all)
	}
	if list := p.Admin("members"); !strings.Contains(list, "waiting for approval") {
		t.Errorf("the list of members does not tell of it:\n%s", list)
	}
	p.Admin("approve", id)
	p.Await("the new machine takes part", func() bool { return strings.Contains(machines(), "new") })
}

// A person who waits for approval is told so, and by what it is given.
func TestPendingUser(t *testing.T) {
	p := realpool.Start(t, bin, realpool.Config{})
	if err := os.RemoveAll(filepath.Join(p.Dir, "home")); err != nil { // of whoever was let in already
		t.Fatal(err)
	}
	p.Must("skua", "login", p.Admin("token", "user", "newcomer", "--pending"))
	_, said, code := p.Run("", "skua", "q")
	_, id, ok := strings.Cut(said, "skua-matchmaker approve ")
	if code == 0 || !ok {
		t.Fatalf("skua q ended with %d, and does not say what is missing: %s", code, said)
	}
	id, _, _ = strings.Cut(id, `"`)
	p.Admin("approve", id)
	p.Await("the newcomer may ask", func() bool {
		_, _, code := p.Run("", "skua", "q")
		return code == 0
	})
}
