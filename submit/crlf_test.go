package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/diag"
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
		{`Cmd = "` + dir + `/./crlf.sh"`, true},
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
		var p *diag.Problem
		if want := `convert it with: sed -i 's/\r$//' `; errors.As(err, &p) && (!strings.HasPrefix(p.Hint, want) || strings.Contains(p.Hint, "/./")) {
			t.Errorf("%s: the hint is %s", tt.ad, p.Hint)
		}
	}
}

// A program that no machine can start is noted before it is sent.
func TestNotPrograms(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"pi.py": "print(3)\n", "empty": "", "good.sh": "#!/bin/sh\n", "elf": "\x7fELF\x02\x00", "latin": "caf\xe9\n\n", "long": strings.Repeat("x\n", 2047) + "yä",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ ad, want string }{
		{`Cmd = "pi.py"`, "pi.py is a text that does not begin with #!, so that it will not start"},
		{`Cmd = "empty"`, "empty is empty, so that it will not start"},
		{`Cmd = "long"`, "long is a text that does not begin with #!"},
		{"Cmd = \"pi.py\"\nTransferExecutable = false", ""},
		{"Cmd = \"pi.py\"\nRequirements = TARGET.OpSys == \"WINDOWS\"", ""},
		{`Cmd = "good.sh"`, ""},
		{`Cmd = "elf"`, ""},
		{`Cmd = "latin"`, ""},
		{`Cmd = "gone"`, ""},
	} {
		ad, err := classad.ParseOldAd(tt.ad)
		if err != nil {
			t.Fatal(err)
		}
		ad.SetString("Iwd", dir)
		got := strings.Join(notPrograms(&submitfile.Submission{Procs: []submitfile.Proc{{Ad: ad}}}), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: noted %q, want %q", tt.ad, got, tt.want)
		}
	}
}
