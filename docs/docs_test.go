// Package docs_test keeps the documents true where a program can: links lead somewhere, commands that
// are named exist, with their flags, and every key of every configuration file is explained.
package docs_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"skua/agent/startd"
	"skua/matchmaker/server"
	"skua/policy"
	"skua/policy/config"
	"skua/submit/courier"
)

// documents are all that is written for people.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "changelog/*.md", "changelog/*/*.md", "examples/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 10 {
		t.Fatalf("only %d documents found: %v", len(names), names)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

func TestLinks(t *testing.T) {
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			to := name
			if file != "" {
				to = filepath.Join(filepath.Dir(name), filepath.FromSlash(file))
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", name, m[1])
			}
		}
	}
}

// anchors are the names of a document's headings in links.
func anchors(text string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case strings.ContainsRune("`.,:()/'\"!?", r):
				return -1
			}
			return r
		}, strings.ToLower(m[1])))
	}
	return names
}

var programs = map[string]string{"skua": "submit", "skua-agent": "agent", "skua-matchmaker": "matchmaker"}

func TestCommands(t *testing.T) {
	bin := t.TempDir()
	for program, dir := range programs {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, program), "../"+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
	}
	help := map[string]string{} // by command
	for _, name := range documents(t) {
		for _, c := range commands(read(t, name)) {
			line := strings.Join(c.words, " ")
			if _, ok := help[line]; !ok {
				args := append(slices.Clone(c.words[1:]), "--help")
				out, err := exec.CommandContext(t.Context(), filepath.Join(bin, c.words[0]), args...).CombinedOutput()
				if err != nil {
					t.Fatalf("%s --help: %v\n%s", line, err, out)
				}
				help[line] = string(out)
			}
			if !regexp.MustCompile(`(?m)^  ` + line + `( |$)`).MatchString(help[line]) {
				t.Errorf("%s: there is no command %q", name, line)
			}
			for _, flag := range c.flags {
				if !regexp.MustCompile(flag + `\b`).MatchString(help[line]) {
					t.Errorf("%s: %s has no flag %s", name, line, flag)
				}
			}
		}
	}
	if len(help) < 20 {
		t.Errorf("only %d commands are named: %v", len(help), help)
	}
}

// command is one that a document names: the program, its commands, and flags.
type command struct{ words, flags []string }

var (
	code = regexp.MustCompile("(?m)^(    |\\$ ).*$|`[^`\n]+`")
	word = regexp.MustCompile(`^[a-z]+$`)
	flag = regexp.MustCompile(`^--[a-z-]+`)
)

// commands finds the commands of our programs in a document's code.
func commands(text string) []command {
	var found []command
	for _, line := range code.FindAllString(text, -1) {
		line, _, _ = strings.Cut(line, " #")
		fields := strings.Fields(strings.Trim(line, "`"))
		for i, f := range fields {
			program := path.Base(f)
			if programs[program] == "" || i+1 < len(fields) && !commandLine(fields[i+1]) {
				continue
			}
			c := command{words: []string{program}}
			rest := fields[i+1:]
			for len(rest) > 0 && word.MatchString(rest[0]) {
				c.words, rest = append(c.words, rest[0]), rest[1:]
			}
			for _, r := range rest {
				if flag.MatchString(r) {
					c.flags = append(c.flags, flag.FindString(r))
				}
			}
			found = append(found, c)
		}
	}
	return found
}

// commandLine says whether what follows a program's name can belong to a command line.
func commandLine(next string) bool { return word.MatchString(next) || flag.MatchString(next) }

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		document string
		file     any
	}{
		{"policy.md", policy.File{}},
		{"configuration.md", startd.Settings{}},
		{"configuration.md", server.Settings{}},
		{"eventlog.md", courier.Settings{}},
	} {
		text := read(t, tt.document)
		for _, key := range keys(reflect.TypeOf(tt.file), "") {
			if !strings.Contains(text, "`"+key+"`") {
				t.Errorf("%s does not explain the key %s", tt.document, key)
			}
		}
	}
}

// TestMachineAd: whatever a machine says of itself is explained.
func TestMachineAd(t *testing.T) {
	text := read(t, "machine-ad.md")
	for _, name := range startd.MachineAttributes() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("machine-ad.md does not explain %s", name)
		}
	}
}

// keys lists the keys of a configuration file that is read into a struct of type s.
func keys(s reflect.Type, table string) []string {
	var names []string
	for _, f := range reflect.VisibleFields(s) {
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch isTable := f.Type.Kind() == reflect.Struct && f.Type.Field(0).Tag.Get("toml") != ""; {
		case name == "":
		case f.Type == reflect.TypeFor[policy.Expressions](), f.Type == reflect.TypeFor[policy.Attributes]():
			names = append(names, table+name+".NAME") // explained together
		case isTable:
			names = append(names, keys(f.Type, table+name+".")...)
		default:
			names = append(names, table+name)
		}
	}
	return names
}

// TestPackagedFiles: what is installed by default must be readable, also with every comment that shows
// a default taken away.
func TestPackagedFiles(t *testing.T) {
	comment := regexp.MustCompile(`(?m)^#(\w+ = )`)
	for _, tt := range []struct {
		name string
		file any
	}{
		{"policy.toml", new(policy.File)},
		{"agent.toml", new(struct {
			Token     string `toml:"token"`
			TokenFile string `toml:"token_file"`
			Log       string `toml:"log"`
			startd.Settings
		})},
		{"matchmaker.toml", new(struct {
			Log string `toml:"log"`
			server.Settings
		})},
	} {
		text := read(t, filepath.Join("..", "packaging", tt.name))
		for _, text := range []string{text, comment.ReplaceAllString(text, "$1")} {
			if err := config.Decode(tt.name, []byte(text), tt.file); err != nil {
				t.Error(err)
			}
		}
		if f, ok := tt.file.(*policy.File); ok {
			if _, err := policy.Derive(*f); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}
