package negotiate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"skua/policy/classad"
)

// TestIndex: what the index says is what evaluating each pair says, whatever is in the ads.
func TestIndex(t *testing.T) {
	values := []string{
		"0", "1", "2", "2.0", "-1", "3.5", `"x"`, `"X"`, `"2"`, "true", "false", "undefined", "error", "9007199254740993", "9007199254740992",
		"1.0E300", `{ 1, 2 }`, "B + 1", "TARGET.C", "MY.B", "TARGET.B > 1", "absTime(\"2026-03-02T12:00:00Z\")", `eval("B")`, `real("NaN")`,
	}
	clauses := []string{
		"TARGET.A >= B", "TARGET.A > 1", "TARGET.A == 2", "2 != TARGET.A", "TARGET.A =?= 2", "TARGET.A =!= undefined", "TARGET.A < 9007199254740993",
		"A == 1", "B", "TARGET.A", `TARGET.B == "x"`, "TARGET.A > 1 || TARGET.B", "(TARGET.A > B) =!= true", `stringListMember("x", TARGET.C ?: "x,y")`,
		"TARGET.A >= TARGET.B", "MY.A > 0", "eval(strcat(\"TARGET.\", \"A\")) > 1", "TARGET.Requirements", "true", "false", "undefined", "1", "C ?: 1",
		"member(TARGET.A, { 1, 2 })", "TARGET.A < time()", "TARGET.CurrentTime > 1", "C =?= D",
	}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 11))
		random := func() *classad.Ad {
			var lines []string
			for _, name := range []string{"A", "B", "C", "D"} {
				if r.IntN(5) > 0 {
					lines = append(lines, name+" = "+values[r.IntN(len(values))])
				}
			}
			var parts []string
			for range r.IntN(4) {
				parts = append(parts, "("+clauses[r.IntN(len(clauses))]+")")
			}
			if len(parts) > 0 {
				lines = append(lines, "Requirements = "+strings.Join(parts, " && "))
			}
			ad, err := classad.ParseAd("[ " + strings.Join(lines, "; ") + " ]")
			if err != nil {
				t.Fatal(err)
			}
			return ad
		}
		var slots []Slot
		for i := range 12 {
			slots = append(slots, Slot{Name: fmt.Sprint(i), Ad: random()})
		}
		memo := new(Memo)
		memo.begin()
		x := newIndex(slots, memo)
		for range 8 {
			ad := random()
			requirements, _ := ad.Lookup(classad.AttrRequirements)
			suits, accepts := x.required(requirements, ad), x.accepted(ad)
			for i, s := range slots {
				if got, want := suits(i), requirements.Eval(ad, s.Ad).IsTrue(); got != want {
					t.Errorf("seed %d: job %v on slot %v: %v, evaluated %v", seed, ad, s.Ad, got, want)
				}
				if got, want := accepts(i), s.Ad.Eval(classad.AttrRequirements, ad).IsTrue(); got != want {
					t.Errorf("seed %d: slot %v on job %v: %v, evaluated %v", seed, s.Ad, ad, got, want)
				}
			}
		}
	}
}
