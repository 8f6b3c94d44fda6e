package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/submitfile"
	"skua/policy/classad"
)

// A script with Windows line ends is refused before it is sent, unless it is for Windows or not sent.
func TestCRLFScripts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"crlf.sh": "#!/bin/sh\r\nexit 0\r\n", "good.sh": "#!/bin/sh\nprintf 'a\\r\\n'\r\n", "data": "a,b\r\n", "bare": "#!/bin/sh\r",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		ad      string
		refused bool
	}{
		{`Cmd = "crlf.sh"`, true},
		{`Cmd = "` + filepath.Join(dir, "crlf.sh") + `"`, true},
		{"Cmd = \"crlf.sh\"\nTransferExecutable = false", false},
		{"Cmd = \"crlf.sh\"\nRequirements = TARGET.OpSys == \"WINDOWS\"", false},
		{`Cmd = "good.sh"`, false},
		{`Cmd = "data"`, false},
		{`Cmd = "bare"`, false},
		{`Cmd = "gone"`, false},
	} {
		ad, err := classad.ParseOldAd(tt.ad)
		if err != nil {
			t.Fatal(err)
		}
		ad.SetString("Iwd", dir)
		err = checkScripts(&submitfile.Submission{Procs: []submitfile.Proc{{Ad: ad}}})
		if (err != nil) != tt.refused || err != nil && !strings.Contains(err.Error(), "crlf.sh was saved with Windows line ends and would not start") {
			t.Errorf("%s: %v", tt.ad, err)
		}
	}
}
