package checkpoint

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// maxLog bounds how much of a CRIU log is read; the cause of a failure stands near the end.
const maxLog = 1 << 20

// errorLine matches "(00.012345) Error (criu/files-reg.c:2135): File x has bad size 51 (expect 21)",
// with what lines of a restored task carry before "Error": its pid, and "pie:" from when its memory is put
// together.
var errorLine = regexp.MustCompile(`^\(\d+\.\d+\)\s+(?:pie:\s*)?(?:\d+:\s*)?Error \([^)]*\):\s*(.*)$`)

// consequences are errors that CRIU reports because of an earlier one, or that do not stop it. They
// are the reason only when there is no other.
var consequences = []string{
	"Restoring FAILED", "Dumping FAILED", "Killing processes because of failure",
	"exited, status=", "killed by signal",
}

// harmless is said each time by a CRIU that is not the machine's root, and is no reason even where there is no other.
const harmless = "Can't setup RLIMIT_NOFILE for self"

// plainly says in plain words what CRIU says of what it cannot checkpoint or restore.
var plainly = []struct{ says, means string }{
	{"Connected TCP socket", "it is connected to another machine"},
	{"Can't dump that handle", "it watches files with inotify or fanotify"},
	{" mapping with 0xffff", "this machine's kernel does not map its memory as it was"},
}

// reason reduces a CRIU log to one clause: its first error that is not the consequence of another.
// It returns "" when the log holds no error.
func reason(log io.Reader) string {
	var first string
	sc := bufio.NewScanner(io.LimitReader(log, maxLog))
	sc.Buffer(make([]byte, 0, 4096), maxLog)
	for sc.Scan() {
		m := errorLine.FindStringSubmatch(sc.Text())
		if m == nil {
			continue
		}
		text := clause(m[1])
		if text == "" || strings.Contains(text, harmless) {
			continue
		}
		for _, p := range plainly {
			if strings.Contains(text, p.says) {
				return p.means + " (" + text + ")"
			}
		}
		if !isConsequence(text) {
			return text
		}
		if first == "" {
			first = text
		}
	}
	return first
}

func isConsequence(text string) bool {
	for _, c := range consequences {
		if strings.Contains(text, c) {
			return true
		}
	}
	return false
}

// clause cuts text to something that can stand in an error message.
func clause(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	text = strings.TrimRight(strings.TrimSpace(text), ".!")
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return text
}

// parseVersion reads the output of criu --version.
func parseVersion(out []byte) (string, error) {
	for line := range bytes.Lines(out) {
		if v, ok := bytes.CutPrefix(line, []byte("Version:")); ok {
			if v := clause(string(v)); v != "" {
				return v, nil
			}
		}
	}
	return "", fmt.Errorf("no version in the output %q of criu", clause(string(out)))
}
