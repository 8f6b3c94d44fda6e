package realpool_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"skua/agent/control"
	"skua/internal/realpool"
)

// The administrator changes a file at the matchmaker, and machines do what it says, each within the limits of its
// owner; also after they were started again while no matchmaker was there.
func TestCentralPolicy(t *testing.T) {
	needSandbox(t)
	p := realpool.Start(t, bin, realpool.Config{
		Agents: 2,
		Policy: func(n int) string { // the second owner gives less
			return "preset = \"dedicated\"\n" + []string{"", "[limits]\nmemory = \"10%\"\n"}[n-1]
		},
	})
	// memory is the part of the machine's that jobs get, in percent, and state what the slot is, by machine.
	look := func() (memory map[string]int, state, number map[string]string) {
		memory, state, number = map[string]int{}, map[string]string{}, map[string]string{}
		out := p.Must("skua", "status", "-af", "Machine", "Memory", "TotalMemory", "State", "CentralPolicyNumber")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) != 5 {
				continue
			}
			part, err := strconv.Atoi(f[1])
			total, err2 := strconv.Atoi(f[2])
			if err == nil && err2 == nil && total > 0 {
				memory[f[0]] = (100*part + total/2) / total
			}
			state[f[0]], number[f[0]] = f[3], f[4]
		}
		return memory, state, number
	}
	desks := []string{"desk1", "desk2"}
	await := func(what string, ok func(desk string) bool) {
		t.Helper()
		p.Await(what, func() bool { return ok(desks[0]) && ok(desks[1]) })
	}
	push := func(text string) (number string) {
		t.Helper()
		p.Write("policies/default.toml", text)
		said := p.Admin("policy", "push")
		fields := strings.Fields(said)
		if len(fields) < 2 || !strings.Contains(said, "signed and handed out") {
			t.Fatalf("push says %q", said)
		}
		number = strings.TrimSuffix(fields[1], ":")
		await("every machine has policy "+number, func(desk string) bool { _, _, has := look(); return has[desk] == number })
		return number
	}

	first := push("[limits]\nmemory = \"20%\"\n")
	await("machines give what both their policies grant", func(desk string) bool {
		memory, _, _ := look()
		return memory[desk] == map[string]int{"desk1": 20, "desk2": 10}[desk]
	})

	// A bad file goes nowhere.
	p.Write("policies/default.toml", "[limits]\nmemory = \"20%\"\nmemry = \"90%\"\n")
	_, errs, code := p.Run("", "skua-matchmaker", "--config", filepath.Join(p.Dir, "matchmaker.toml"), "policy", "push")
	if code == 0 || !strings.Contains(errs, `default.toml:3: unknown key "limits.memry"`) {
		t.Errorf("push of a bad file: exit %d, %s", code, errs)
	}
	if list := p.Admin("policy", "list"); !strings.Contains(list, first) {
		t.Errorf("after that the list is\n%s", list)
	}

	second := push("[expressions]\nSTART = 'false'\n[limits]\nmemory = \"30%\"\n")
	await("no machine takes jobs", func(desk string) bool { _, state, _ := look(); return state[desk] == "Owner" })

	// No matchmaker, and another agent.
	p.Matchmaker.Kill()
	for n, g := range p.Agents {
		g.Stop()
		p.RestartAgent(n + 1)
	}
	for _, desk := range desks {
		config := filepath.Join(p.Dir, desk+".toml")
		p.Await(desk+" has the policy without a matchmaker", func() bool {
			out, _, code := p.Run("", "skua-agent", "--config", config, "status", "--json")
			var s control.Status
			return code == 0 && json.Unmarshal([]byte(out), &s) == nil && s.Central != nil && fmt.Sprint(s.Central.Number) == second &&
				len(s.Slots) == 1 && s.Slots[0].State == "Owner"
		})
		explained := p.Must("skua-agent", "--config", config, "policy", "explain")
		want := map[string]string{"desk1": "30% (central)", "desk2": "10% (local)"}[desk]
		if !strings.Contains(strings.Join(strings.Fields(explained), " "), "limits.memory "+want) {
			t.Errorf("%s explains its policy as\n%swithout %q", desk, explained, want)
		}
	}

	p.StartMatchmaker()
	push("[limits]\nmemory = \"20%\"\n")
	p.Script("quick", "exit 0\n")
	id := p.Submit("quick.sub", "executable = quick\nlog = steps.log\nqueue\n")
	p.Must("skua", "wait", id, "--timeout", "4m")
	checkCompletions(t, p, id+".0")
}
