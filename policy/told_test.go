package policy

import (
	"fmt"
	"testing"

	"skua/policy/classad"
)

// What is told of a policy and of a slot is explained elsewhere as it is here.
func TestToldIsExplainedTheSame(t *testing.T) {
	slot, err := classad.ParseOldAd("KeyboardIdle = 1200\nConsoleIdle = 1200\nLoadAvg = 0.75\nSkuaLoadAvg = 0.25\nActivity = \"Busy\"\nState = \"Claimed\"\n" +
		"EnteredCurrentActivity = 1000\nCurrentTime = 2000\nClockMin = 600\nClockDay = 1\nOnBattery = false\nSecret = 1")
	if err != nil {
		t.Fatal(err)
	}
	for _, preset := range []Preset{Desktop, "lab-night", "office", "laptop", Dedicated} {
		p, err := Derive(File{Preset: preset})
		if err != nil {
			t.Fatal(err)
		}
		facts := p.Facts(slot)
		if _, has := facts["Secret"]; has {
			t.Errorf("%s: facts have what no expression looks at", preset)
		}
		facts["CurrentTime"] = "2000" // elsewhere it is the moment's
		ad, err := ToldAd(facts)
		if err != nil {
			t.Fatal(err)
		}
		other, err := Told(p.Texts())
		if err != nil {
			t.Fatal(err)
		}
		want, got := p.Explain(slot), other.Explain(ad)
		for i := range want {
			if g, w := fmt.Sprint(got[i], got[i].Because, got[i].If), fmt.Sprint(want[i], want[i].Because, want[i].If); g != w {
				t.Errorf("%s\ngot  %s\nwant %s", preset, g, w)
			}
		}
	}
	if p, err := Told(nil); err != nil || p.Explain(nil)[0].Value.IsTrue() {
		t.Errorf("what has not been told: %v, %v", p, err)
	}
	if _, err := Told(map[string]string{"START": "("}); err == nil {
		t.Error("nonsense was taken")
	}
}
