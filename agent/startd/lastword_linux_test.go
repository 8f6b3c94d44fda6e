package startd

import (
	"testing"

	"skua/internal/wire"
)

// A real job whose machine has got another name is ended, and its matchmaker hears of it.
func TestMachineIsRenamed(t *testing.T) {
	d := newDesk(t, nil)
	ref := d.offer("i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done", "")
	d.prints(ref, "3\n")
	d.stop()
	d.change = func(cfg *Config) { cfg.Machine = "office" }
	d.start()
	done := d.end(ref)
	if want := "the agent on office was restarted without slot1@desk, and the job was ended"; done.Outcome != wire.Evicted || done.Reason != want {
		t.Errorf("the report is %+v, want evicted: %s", done, want)
	}
	if claims, err := d.starter.Claims(); err != nil || len(claims) > 0 {
		t.Errorf("of the claims %v is still something there (%v)", claims, err)
	}
}
