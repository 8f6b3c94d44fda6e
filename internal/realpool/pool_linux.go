package realpool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skua/internal/natslab"
	"skua/internal/netlab"
)

// Patience is how long a test waits for anything that should happen soon.
const Patience = 5 * time.Minute

// Config describes a pool.
type Config struct {
	Agents int // number of machines
	Slots  int // of each; 0 means 1
	Lease  int // in seconds; 0 means 6
	Renew  int // of leases, in seconds; 0 means 1

	Parts bool // the machines are partitionable, for Slots jobs at a time

	Data string // where the matchmaker's data are; "" means beside everything else

	// Link is how many bits a second there are between the matchmaker and all the machines together, in each
	// direction; each machine is then in a network namespace of its own. 0 means that all is on this machine's
	// loopback.
	Link int64

	// Policy is what policy.toml of the machine with that number says, from 1 on; nil means machines
	// that are nobody's. The shared journal is added.
	Policy func(machine int) string
	// Agent is what agent.toml says beyond what every agent needs.
	Agent func(machine int) string
}

// Pool is a running pool.
type Pool struct {
	Dir        string // everything except the journal
	Journal    string // a directory that jobs find at the same path
	Matchmaker *Program
	Agents     []*Program

	Heads []*Program       // of a pool with several matchmakers, by number from 1 on; see StartHeads
	NATS  *natslab.Cluster // that they share

	t   testing.TB
	bin string
	url string
	lab *netlab.Lab // of a pool with a link
}

// mainframe is the machine of the matchmaker in a lab.
const mainframe = "pool"

// Build builds the programs into dir.
func Build(dir string) error {
	for program, pkg := range map[string]string{"skua": "./submit", "skua-agent": "./agent", "skua-matchmaker": "./matchmaker"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, program), pkg)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as scripts/build does
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	return nil
}

// Start starts a pool with the programs in bin, and waits until every machine has offered its slots.
func Start(t testing.TB, bin string, cfg Config) *Pool {
	t.Helper()
	p := New(t, bin)
	if cfg.Link > 0 {
		p.cable(cfg)
	}
	p.Write("matchmaker.toml", p.settings("matchmaker", p.url, cfg))
	p.StartMatchmaker()
	p.populate(cfg)
	return p
}

// cable makes a network of the pool's machines, with a link to the matchmaker that they share.
func (p *Pool) cable(cfg Config) {
	p.t.Helper()
	ctx := context.Background()
	lab, err := netlab.New(ctx, fmt.Sprintf("skp%d-", os.Getpid()))
	p.lab = lab
	if err != nil {
		p.t.Fatal(err)
	}
	address, err := lab.Add(ctx, mainframe)
	for i := 0; i < cfg.Agents && err == nil; i++ {
		_, err = lab.Add(ctx, deskName(i+1))
	}
	if err == nil {
		err = lab.Rate(ctx, mainframe, cfg.Link)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.url = "https://" + address + ":9618"
}

// deskName is the name of the machine with that number.
func deskName(n int) string { return fmt.Sprint("desk", n) }

// settings gives the text of a matchmaker's configuration file.
func (p *Pool) settings(name, url string, cfg Config) string {
	if cfg.Lease == 0 {
		cfg.Lease = 6
	}
	renew, offer, guard := max(cfg.Renew, 1), 2, 1 // seconds
	data := filepath.Join(p.Dir, name)
	if cfg.Data != "" {
		data = filepath.Join(cfg.Data, name)
	}
	if cfg.Link > 0 {
		renew, offer, guard = 10, 10, 5 // the link is to be congested, and the processors are, too
	}
	return fmt.Sprintf(`data = %q
listen = %q
url = %q
log = "debug"
[leases]
lease = "%ds"
renew = "%ds"
offer = "%ds"
guard = "%ds"
`, data, strings.TrimPrefix(url, "https://"), url, cfg.Lease, renew, offer, guard)
}

// populate makes a user and starts the machines, and waits until every slot is offered.
func (p *Pool) populate(cfg Config) {
	p.t.Helper()
	p.Must("skua", "login", p.Admin("token", "user", "researcher"))
	if cfg.Agents == 0 {
		return
	}
	token := p.Admin("token", "agent", "--uses", strconv.Itoa(cfg.Agents))
	for i := range cfg.Agents {
		name := deskName(i + 1)
		policy := "preset = \"dedicated\"\n"
		if cfg.Policy != nil {
			policy = cfg.Policy(i + 1)
		}
		p.Write(name+"-policy.toml", policy+fmt.Sprintf("[shared_fs]\nmounts = [%q]\n", p.Journal))
		agent := fmt.Sprintf("name = %q\ndir = %q\npolicy = %q\nslots = %d\nlog = \"debug\"\n",
			name, filepath.Join(p.Dir, name), name+"-policy.toml", max(cfg.Slots, 1))
		if cfg.Parts {
			agent += "partitionable = true\n"
		}
		if cfg.Agent != nil {
			agent += cfg.Agent(i + 1)
		} else {
			agent += "owner = false\n"
		}
		config := p.Write(name+".toml", agent)
		p.mustOn(name, "skua-agent", "--config", config, "join", token)
		p.Agents = append(p.Agents, p.Launch(name, "skua-agent", "--config", config, "run"))
	}
	slots := cfg.Agents * max(cfg.Slots, 1)
	if cfg.Parts {
		slots = cfg.Agents
	}
	p.Await("every slot is offered", func() bool {
		out, _, _ := p.Run("", "skua", "status", "--json")
		return strings.Count(out, `"Unclaimed"`) == slots
	})
}

// New makes a pool in which nothing runs yet.
func New(t testing.TB, bin string) *Pool {
	t.Helper()
	// Short, since the names of sockets are bounded.
	dir, err := os.MkdirTemp("", "skua-real-")
	if err != nil {
		t.Fatal(err)
	}
	p := &Pool{Dir: dir, t: t, bin: bin, url: "https://" + freeAddress(t)}
	// Jobs have a /tmp of their own, so what they share with the machine lies elsewhere.
	for _, place := range []string{"/srv", "/mnt", os.Getenv("HOME")} {
		if p.Journal, err = os.MkdirTemp(place, "skua-journal-"); err == nil {
			break
		}
	}
	if err == nil {
		err = os.Chmod(p.Journal, 0o777) // jobs run under ids of their own
	}
	if err != nil {
		t.Fatalf("make a directory for the journal: %v", err)
	}
	t.Cleanup(p.clean)
	return p
}

// freeAddress gives a loopback address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Address is where the matchmaker listens, on this machine alone: an address and a port.
func (p *Pool) Address() string { return strings.TrimPrefix(p.url, "https://") }

// StartMatchmaker starts the matchmaker, or starts it again, and waits until it serves.
func (p *Pool) StartMatchmaker() {
	p.t.Helper()
	p.Matchmaker = p.Launch("matchmaker", "skua-matchmaker", "--config", filepath.Join(p.Dir, "matchmaker.toml"))
	p.Await("the matchmaker serves", func() bool {
		p.Matchmaker.MustRun()
		_, _, code := p.Run("", "skua-matchmaker", "--config", filepath.Join(p.Dir, "matchmaker.toml"), "members")
		return code == 0
	})
}

// RestartAgent starts an agent whose process has ended again.
func (p *Pool) RestartAgent(n int) {
	p.t.Helper()
	old := p.Agents[n-1]
	p.Agents[n-1] = p.Launch(old.Name, old.args...)
}

// Write writes a file of the pool's directory and gives its path.
func (p *Pool) Write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.Dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// Script writes an executable shell script.
func (p *Pool) Script(name, text string) {
	p.t.Helper()
	path := p.Write(name, "#!/bin/sh\n"+text)
	if err := os.Chmod(path, 0o755); err != nil {
		p.t.Fatal(err)
	}
}

// Read gives the content of a file in the pool's directory, "" when there is none.
func (p *Pool) Read(name string) string {
	data, _ := os.ReadFile(filepath.Join(p.Dir, name))
	return string(data)
}

// command makes a command on a machine: of a program that was built, or of the system.
func (p *Pool) command(ctx context.Context, machine, dir string, args ...string) *exec.Cmd {
	name := args[0]
	if path := filepath.Join(p.bin, name); fileExists(path) {
		name = path
	}
	cmd := exec.CommandContext(ctx, name, args[1:]...)
	if p.lab != nil {
		cmd = p.lab.Command(ctx, machine, name, args[1:]...)
	}
	cmd.Dir = filepath.Join(p.Dir, dir)
	cmd.Env = append(os.Environ(), "SKUA_HOME="+filepath.Join(p.Dir, "home"), "PATH="+p.bin+":"+os.Getenv("PATH"))
	cmd.WaitDelay = time.Second // a courier may have kept the output open
	return cmd
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Run runs a command of the user, in a directory of the pool's, to its end. In a lab the user is at the matchmaker.
func (p *Pool) Run(dir string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.runOn(mainframe, dir, args...)
}

func (p *Pool) runOn(machine, dir string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := p.command(ctx, machine, dir, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
		p.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Must runs a command that must succeed and gives its output.
func (p *Pool) Must(args ...string) string {
	p.t.Helper()
	return p.mustOn(mainframe, args...)
}

func (p *Pool) mustOn(machine string, args ...string) string {
	p.t.Helper()
	stdout, stderr, code := p.runOn(machine, "", args...)
	if code != 0 {
		p.t.Fatalf("%s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// Admin gives an order to the matchmaker.
func (p *Pool) Admin(args ...string) string {
	p.t.Helper()
	config := "matchmaker.toml"
	if p.Heads != nil {
		config = headName(1) + ".toml"
	}
	args = append([]string{"skua-matchmaker", "--config", filepath.Join(p.Dir, config)}, args...)
	return strings.TrimSpace(p.Must(args...))
}

// Submit submits a job description, whose file it writes, and gives the cluster.
func (p *Pool) Submit(name, description string) string {
	p.t.Helper()
	p.Write(name, description)
	return p.cluster(p.Must("skua", "submit", name))
}

func (p *Pool) cluster(said string) string {
	p.t.Helper()
	m := regexp.MustCompile(`submitted to cluster (\d+)`).FindStringSubmatch(said)
	if m == nil {
		p.t.Fatalf("submit did not name a cluster: %q", said)
	}
	return m[1]
}

// Await looks until ok holds, and fails the test when it does not in time.
func (p *Pool) Await(what string, ok func() bool) {
	p.t.Helper()
	p.AwaitFor(Patience, what, ok)
}

// AwaitFor is [Pool.Await] with a limit of its own.
func (p *Pool) AwaitFor(limit time.Duration, what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// StopCourier ends the background process that submits have started. It would end by itself some minutes
// after the last job.
func (p *Pool) StopCourier() {
	p.t.Helper()
	for _, pid := range p.Couriers() {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
		p.Await("the courier ends", func() bool { return state(fmt.Sprint("/proc/", pid)) == 0 })
	}
}

// Couriers are the background processes that submits have started, some of which may have ended.
func (p *Pool) Couriers() (pids []int) {
	p.t.Helper()
	locks, _ := filepath.Glob(filepath.Join(p.Dir, "home", "hosts", "*", "courier.lock")) // the pattern is well formed
	for _, lock := range locks {
		data, err := os.ReadFile(lock)
		if err != nil {
			p.t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			p.t.Fatalf("%s: %v", lock, err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// Cgroups gives the cgroups of the pool's claims.
func (p *Pool) Cgroups() []string { return claimCgroups(p.Dir) }

// Exists reports whether there is such a file.
func Exists(path string) bool { return fileExists(path) }

// clean removes what the pool has made. Its programs have ended.
func (p *Pool) clean() {
	if p.t.Failed() {
		out, _ := os.ReadFile(filepath.Join(p.Dir, "home", "courier.log"))
		p.t.Logf("log of the courier:\n%s", tail(string(out), 20))
	}
	for _, proc := range p.Leftovers() {
		_ = syscall.Kill(proc.Pid, syscall.SIGKILL)
	}
	p.AwaitFor(Patience, "nothing of the pool runs", func() bool { return len(p.Leftovers()) == 0 })
	removeCgroups(p.Dir)
	if p.lab != nil {
		if err := p.lab.Close(context.Background()); err != nil {
			p.t.Errorf("clean up: %v", err)
		}
	}
	for _, dir := range []string{p.Dir, p.Journal} {
		if err := os.RemoveAll(dir); err != nil {
			p.t.Errorf("clean up: %v", err)
		}
	}
}
