package main

import (
	"os"
	"regexp"
	"testing"

	"skua/policy/config"
)

// The agent.toml that is installed must be good as it is, and with every line that an administrator
// may take the comment sign off.
func TestPackagedFile(t *testing.T) {
	data, err := os.ReadFile("../packaging/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	uncommented := regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAll(data, []byte("$1"))
	for name, data := range map[string][]byte{"as it is": data, "uncommented": uncommented} {
		var cfg fileConfig
		if err := config.Decode("agent.toml", data, &cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
