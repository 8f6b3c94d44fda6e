package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"skua/internal/diag"
	"skua/internal/submitfile"
	"skua/policy/classad"
)

// checkScripts refuses scripts that were saved with Windows line ends: Linux would look for an interpreter whose name ends
// in one.
func checkScripts(s *submitfile.Submission) error {
	seen := map[string]bool{}
	for _, p := range s.Procs {
		name, ok := p.Ad.Str("Cmd")
		if send, has := p.Ad.Bool("TransferExecutable"); !ok || has && !send || seen[name] || forWindows(p.Ad) {
			continue
		}
		seen[name] = true
		at := name
		if iwd, _ := p.Ad.Str("Iwd"); !filepath.IsAbs(at) {
			at = filepath.Join(iwd, at)
		}
		if isCRLFScript(at) {
			return &diag.Problem{
				What: fmt.Sprintf("%s: %s was saved with Windows line ends and would not start", jobFile(p.Ad), filepath.Base(name)),
				Hint: "convert it with: dos2unix " + name,
			}
		}
	}
	return nil
}

// forWindows reports whether a job says that it wants Windows.
func forWindows(ad *classad.Ad) bool {
	e, ok := ad.Lookup("Requirements")
	return ok && strings.Contains(strings.ToUpper(e.String()), `"WINDOWS`)
}

// isCRLFScript reports whether the first line of a script ends as lines do on Windows.
func isCRLFScript(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false // whoever sends it will say why
	}
	defer f.Close()
	const longest = 4 << 10
	line, _ := bufio.NewReader(io.LimitReader(f, longest)).ReadString('\n')
	return strings.HasPrefix(line, "#!") && strings.HasSuffix(line, "\r\n")
}
