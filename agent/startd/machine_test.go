package startd

import (
	"testing"

	"skua/agent/starter"
	"skua/policy"
	"skua/policy/classad"
)

// What a description asks of a machine holds exactly when machines do it.
func TestAbilities(t *testing.T) {
	m := &Machine{settings: Settings{Name: "desk7"}}
	m.policy.Store(&policy.Policy{})
	m.can.Store(&starter.Capabilities{Checkpoint: true, CriuVersion: "4.1", Freezer: "cgroup2"})
	ad, err := m.facts(t.TempDir())(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		asks string
		want bool
	}{
		{`TARGET.HasFileTransfer`, true},
		{`TARGET.HasSelfCheckpointTransfers`, true},
		{`TARGET.HasJobDeferral`, true},
		{`stringListIMember("https", TARGET.HasFileTransferPluginMethods)`, true},
		{`stringListIMember("HTTP", TARGET.HasFileTransferPluginMethods)`, true},
		{`stringListIMember("s3", TARGET.HasFileTransferPluginMethods)`, false},
		{`versioncmp(split(TARGET.CondorVersion)[1], "8.9.7") >= 0`, true},
		{`stringListMember("HasJobDeferral", TARGET.StarterAbilityList)`, true},
		{`TARGET.HasCheckpointing`, true},
		{`TARGET.MyType == "Machine" && TARGET.Machine == "desk7"`, true},
		{`TARGET.HasPerFileEncryption`, false},
		{`TARGET.HasEncryptExecuteDirectory`, false},
		{`TARGET.HasDocker || TARGET.HasContainer || TARGET.HasSIF`, false},
		{`TARGET.GPUs >= 1`, false},
	} {
		e, err := classad.ParseExpr(tt.asks)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Eval(classad.NewAd(), ad); got.IsTrue() != tt.want {
			t.Errorf("%s is %v", tt.asks, got)
		}
	}
}
