package realpool_test

import (
	"fmt"
	"strings"
	"testing"

	"skua/internal/realpool"
)

// Short jobs of one user follow each other in one claim. Each finds an empty place and leaves a full one.
func TestShortJobsFollowEachOther(t *testing.T) {
	const jobs = 8
	p := start(t, realpool.Config{Agents: 1})
	p.Script("mess", `ls /tmp /dev/shm | tr -d '\n'; ls; echo left > /tmp/left; echo left > /dev/shm/left; echo left > .left; sleep 100 & exit 0`)
	cluster := p.Submit("mess.sub", fmt.Sprintf(`executable = mess
output = out.$(Process)
log = mess.log
queue %d
`, jobs))
	p.Must("skua", "wait", cluster, "--timeout", "4m")
	for n := range jobs {
		name := fmt.Sprint("out.", n)
		p.Await(name+" is there", func() bool { return p.Read(name) != "" })
		got := p.Read(name)
		if strings.Contains(got, "left") || got != p.Read("out.0") {
			t.Errorf("job %d found %q, the first one %q", n, got, p.Read("out.0"))
		}
	}
	p.Await("the log tells of all ends", func() bool { return strings.Count(p.Read("mess.log"), "\n005 (") == jobs })
	if n := strings.Count(p.Read("mess.log"), "\n001 ("); n != jobs {
		t.Errorf("the log tells of %d starts", n)
	}
	if n := strings.Count(p.Matchmaker.Log(), "slot goes on"); n < jobs/2 {
		t.Errorf("the slot went on with %d of %d jobs", n, jobs-1)
	}
	p.Await("nothing of the claim is left", func() bool { return len(p.Cgroups()) == 0 })
}
