package server

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/negotiate"
)

// desks are machines that take what they are offered and run it for as long as it says.
type desks struct {
	*pool
	agents []*agent
	runs   map[*agent]deskRun
	over   func() // called whenever something has changed
}

type deskRun struct {
	offer wire.Offer
	ends  time.Time
}

func (p *pool) desks(n int) *desks {
	d := &desks{pool: p, runs: map[*agent]deskRun{}, over: func() {}}
	for i := range n {
		a := p.agent(job.AgentID("d" + string(rune('a'+i))))
		a.advertise("Unclaimed")
		d.agents = append(d.agents, a)
	}
	return d
}

// work lets time pass. What runs ends by itself, and the machines are heard of.
func (d *desks) work(length time.Duration) {
	step := d.terms.Renew
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(step) {
		for _, a := range d.agents {
			switch run, runs := d.runs[a]; {
			case runs && !time.Now().Before(run.ends):
				a.done(run.offer, exited(0))
				delete(d.runs, a)
				a.advertise("Unclaimed")
			case runs:
				a.renew(run.offer, "")
			}
			a.send(wire.HeartbeatSubject(a.id), wire.Heartbeat{V: wire.Version})
		}
		for _, a := range d.agents {
			select {
			case o := <-a.offers:
				secs, _ := o.Ad.Int("Takes")
				d.runs[a] = deskRun{o, time.Now().Add(time.Duration(secs) * time.Second)}
				a.accept(o)
				a.advertise("Claimed")
			default:
			}
		}
		d.over()
	}
}

// users asks for everybody's share, by name.
func (u *user) users() map[string]wire.UserRow {
	u.t.Helper()
	all := map[string]wire.UserRow{}
	for _, raw := range u.query(wire.Query{Kind: wire.QueryUsers}).Rows {
		var row wire.UserRow
		if err := json.Unmarshal(raw, &row); err != nil {
			u.t.Fatal(err)
		}
		all[row.Name] = row
	}
	return all
}

// slowly makes a pool in which a day passes in few steps.
func slowly(p *pool) {
	p.terms.Lease, p.terms.Renew = 20*time.Minute, 2*time.Minute
}

// Two users want all of the pool for a day, one with a quarter of the factor of the other. What each gets
// is in inverse proportion to the effective priority, in which what was got comes back: a quarter of the
// factor makes twice the share.
func TestSharesOverADay(t *testing.T) {
	set := func(p *pool) { slowly(p); p.halfLife = 2 * time.Hour }
	inPoolWith(t, set, func(t *testing.T, p *pool) {
		ann, bob := p.user("u1"), p.user("u2")
		d := p.desks(9)
		if err := p.server.SetFactor(t.Context(), "u1", 250); err != nil {
			t.Fatal(err)
		}
		ann.submit(300, "Takes = 1800; ")
		bob.submit(300, "Takes = 1800; ")
		d.work(24 * time.Hour)
		users := ann.users()
		got := users["ann"].Hours / users["bob"].Hours
		t.Logf("ann %+v, bob %+v: %.2f to 1", users["ann"], users["bob"], got)
		if total := users["ann"].Hours + users["bob"].Hours; total < 9*24*0.9 || total > 9*24 {
			t.Errorf("%.1f hours were used, of %d that there were", total, 9*24)
		}
		if got < 1.6 || got > 2.5 {
			t.Errorf("ann got %.2f times what bob got, want about twice as much", got)
		}

		p.stop()
		p.run()
		again := ann.users()
		for _, name := range []string{"ann", "bob"} {
			a, b := users[name], again[name]
			if math.Abs(a.Hours-b.Hours) > 0.1 || math.Abs(a.Priority-b.Priority) > 0.01 || a.Factor != b.Factor || !a.First.Equal(b.First) {
				t.Errorf("%s before and after a restart:\n%+v\n%+v", name, a, b)
			}
		}
	})
}

// Somebody who comes when another has had the pool for a day gets what becomes free.
func TestNewcomerIsServedFirst(t *testing.T) {
	inPoolWith(t, slowly, func(t *testing.T, p *pool) {
		ann, bob := p.user("u1"), p.user("u2")
		d := p.desks(4)
		ann.submit(120, "Takes = 3600; ")
		d.work(24 * time.Hour)
		bob.submit(10, "Takes = 3600; ")
		d.work(75 * time.Minute)
		if n := ann.users()["bob"].InUse; n < 3 {
			t.Errorf("bob has %d of 4 machines", n)
		}
	})
}

func TestSetFactor(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		for factor, good := range map[float64]bool{1: true, 0.5: false, 0: false, -3: false, 1e10: false, math.Inf(1): false, math.NaN(): false} {
			if err := p.server.SetFactor(t.Context(), "u1", factor); (err == nil) != good {
				t.Errorf("factor %v: %v", factor, err)
			}
		}
		ann.submit(1, "")
		p.user("u2").submit(1, "")
		if u := ann.users(); u["ann"].Factor != 1 || u["bob"].Factor != 1000 || u["ann"].Effective != 0.5 {
			t.Errorf("users %+v", u)
		}
	})
}

// However jobs come and go, no more of them have a claim than their limits allow.
func TestLimitsAreNeverExceeded(t *testing.T) {
	inPoolWith(t, func(p *pool) { p.limits = map[string]float64{"matlab": 2, "licence.*": 3} }, func(t *testing.T, p *pool) {
		ann, bob := p.user("u1"), p.user("u2")
		d := p.desks(8)
		most := map[string]float64{}
		d.over = func() {
			used := map[string]float64{}
			for _, j := range p.queue.Claimed() {
				if !j.Claim.Lapsed {
					text, _ := j.Ad.Str("ConcurrencyLimits")
					for _, name := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ',' }) {
						name, double := strings.CutSuffix(name, ":2")
						used[name]++
						if double {
							used[name]++
						}
					}
				}
			}
			for name, n := range used {
				most[name] = max(most[name], n)
			}
		}
		ann.submit(6, `Takes = 300; ConcurrencyLimits = "MatLab,licence.a"; `)
		bob.submit(6, `Takes = 240; ConcurrencyLimits = "matlab"; `)
		bob.submit(3, `Takes = 400; ConcurrencyLimits = "licence.a:2"; `)
		ann.submit(6, `Takes = 100; ConcurrencyLimits = "licence.b"; `)
		bob.submit(6, `Takes = 500; ConcurrencyLimits = "other"; `)
		d.work(time.Hour)
		if n := len(p.queue.Jobs("")); n != 0 {
			t.Errorf("%d jobs have not completed", n)
		}
		if most["matlab"] != 2 || most["licence.a"] > 3 || most["licence.b"] != 3 || most["other"] < 4 {
			t.Errorf("at most in use: %v", most)
		}
		var rows []wire.LimitRow
		for _, raw := range ann.query(wire.Query{Kind: wire.QueryLimits}).Rows {
			var row wire.LimitRow
			if err := json.Unmarshal(raw, &row); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if len(rows) != 1 || rows[0] != (wire.LimitRow{Name: "matlab", Cap: 2}) {
			t.Errorf("limits %+v", rows)
		}
	})
}

// Limits that a job names by what it and its slot are hold as others do.
func TestLimitsMadeOfAttributes(t *testing.T) {
	for _, tt := range []struct{ expr, name string }{
		{`strcat("sweep", ClusterId)`, "sweep1"},
		{`strcat("of_", User)`, "of_u1"},
		{`strcat("for_", Owner)`, "for_ann"},
		{`strcat("on_", TARGET.OpSys)`, "on_linux"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPoolWith(t, func(p *pool) { p.limits = map[string]float64{tt.name: 1} }, func(t *testing.T, p *pool) {
				ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
				ann.submit(3, "ConcurrencyLimits = "+tt.expr+"; ")
				desk.advertise("Unclaimed")
				o := desk.runs("Claimed")
				lab.advertise("Unclaimed")
				lab.noOffer()
				want := wire.LimitRow{Name: tt.name, Cap: 1, Used: 1}
				var row wire.LimitRow
				if rows := ann.query(wire.Query{Kind: wire.QueryLimits}).Rows; len(rows) != 1 || json.Unmarshal(rows[0], &row) != nil || row != want {
					t.Errorf("limits %s, want %+v", rows, want)
				}
				if desk.done(o, more()).Next == nil {
					t.Fatal("the slot does not go on with a job that takes the place of the one before")
				}
				lab.advertise("Unclaimed")
				lab.noOffer()
			})
		})
	}
}

// A claim that had lapsed does not come back when another job has its place in a limit.
func TestLapsedClaimAndAFullLimit(t *testing.T) {
	for _, tt := range []struct {
		limits string
		taken  bool
	}{
		{`"matlab"`, false},
		{`"matlab"`, true},
		{`ifThenElse(TARGET.OpSys == "LINUX", "matlab", "matlab_win")`, true},
	} {
		inPoolWith(t, func(p *pool) { p.limits = map[string]float64{"matlab": 1} }, func(t *testing.T, p *pool) {
			ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
			desk.advertise("Unclaimed")
			id := ann.submit(1, `ConcurrencyLimits = `+tt.limits+`; `)
			o := desk.offered()
			desk.accept(o)
			desk.advertise("Claimed")
			time.Sleep(testTerms.Outlives())
			p.wantState(id, job.Idle)
			if tt.taken {
				ann.submit(1, `ConcurrencyLimits = "matlab"; JobPrio = 10; `)
				lab.advertise("Unclaimed")
				if second := lab.offered(); second.Job == id {
					t.Fatal("the lapsed job itself was offered")
				}
			}
			if g := desk.renew(o, ""); g.Gone != tt.taken {
				t.Errorf("limits %s: with its place taken %v the claim's renewal got %+v", tt.limits, tt.taken, g)
			}
		})
	}
}

func claimsOf(limits ...string) []negotiate.Claim {
	var all []negotiate.Claim
	for _, text := range limits {
		all = append(all, negotiate.Claim{Limits: text})
	}
	return all
}

func TestExceeded(t *testing.T) {
	caps := map[string]float64{"a": 2}
	for _, tt := range []struct {
		name  string
		has   []string
		wants string
		want  bool
	}{
		{"room", []string{"a"}, "a", false},
		{"none", []string{"a", "a"}, "a", true},
		{"no limit", []string{"a", "a"}, "b", false},
		{"too much already, by others", []string{"a", "a", "a"}, "b", false},
		{"too much at once", []string{"a"}, "a:1.5", true},
		{"to the last", []string{"a:0.1", "a:0.2"}, "a:1.7", false},
	} {
		if got := exceeded(caps, claimsOf(tt.has...), claimsOf(append(tt.has, tt.wants)...)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
