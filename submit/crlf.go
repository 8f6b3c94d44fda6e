package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"skua/internal/diag"
	"skua/internal/submitfile"
	"skua/policy/classad"
)

// checkScripts refuses scripts that were saved with Windows line ends: Linux would look for an interpreter whose name ends
// in one.
func checkScripts(s *submitfile.Submission) error {
	var err error
	sentPrograms(s, func(ad *classad.Ad, name, head string) {
		if line, _, _ := strings.Cut(head, "\n"); err == nil && strings.HasPrefix(line, "#!") && strings.HasSuffix(line, "\r") && line != head {
			err = &diag.Problem{
				What: fmt.Sprintf("%s: %s was saved with Windows line ends and would not start", jobFile(ad), filepath.Base(name)),
				Hint: fmt.Sprintf(`convert it with: sed -i 's/\r$//' %s`, filepath.Clean(name)),
			}
		}
	})
	return err
}

// notPrograms says of programs that are sent which of them no machine of Linux can start, since they are text and do not say
// what is to run them.
func notPrograms(s *submitfile.Submission) []string {
	var notes []string
	sentPrograms(s, func(ad *classad.Ad, name, head string) {
		what := "is a text that does not begin with #!"
		switch {
		case head == "":
			what = "is empty"
		case strings.HasPrefix(head, "#!") || strings.ContainsRune(head, 0) || !utf8.ValidString(lastWhole(head)):
			return
		}
		notes = append(notes, fmt.Sprintf("%s: %s %s, so that it will not start; a script's first line names its program, such as #!/bin/sh", jobFile(ad), filepath.Base(name), what))
	})
	return notes
}

// lastWhole leaves out the last line of a text, which may be cut within a letter, unless it is the only one.
func lastWhole(head string) string {
	if i := strings.LastIndexByte(head, '\n'); i >= 0 {
		return head[:i]
	}
	return head
}

// sentPrograms gives each program that goes with the jobs once, with its beginning. Those that cannot be read are left out,
// since whoever sends them says why, and those for Windows.
func sentPrograms(s *submitfile.Submission, f func(ad *classad.Ad, name, head string)) {
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
		if head, err := headOf(at); err == nil {
			f(p.Ad, name, head)
		}
	}
}

// forWindows reports whether a job says that it wants Windows.
func forWindows(ad *classad.Ad) bool {
	e, ok := ad.Lookup("Requirements")
	return ok && strings.Contains(strings.ToUpper(e.String()), `"WINDOWS`)
}

// headOf reads the beginning of a plain file.
func headOf(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", errors.New("it is no plain file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 4 << 10
	head, err := io.ReadAll(io.LimitReader(f, most))
	return string(head), err
}
