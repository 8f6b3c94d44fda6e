package submitfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/policy/classad"
)

// conformanceFloors are how many of the descriptions in each directory pass. Raise them when more do.
var conformanceFloors = map[string]int{
	"../../testdata/conformance/submit": 122,
	"testdata/corpus":                   266,
}

// notCompared are the attributes that depend on clock, user or build, which the corpus leaves out.
var notCompared = map[string]bool{
	"qdate": true, "enteredcurrentstatus": true, "condorversion": true, "condorplatform": true, "owner": true, "user": true,
	"executablesize": true, "imagesize": true, "diskusage": true, // only where the corpus lacks them
	// Commands that HTCondor has got since 23.9.6, which does not know these attributes.
	"retryrequestmemory": true, "retryrequestmemoryincrease": true, "retryrequestmemorymax": true,
	"periodicremovereason": true, "periodicvacatereason": true, "periodicvacatesubcode": true,
	"jobbatchprojectname": true,
}

// TestConformance compares with what HTCondor 23.9.6 made of the same files. SKUA_CONFORMANCE names
// another directory of such files, of which as many as possible should pass.
func TestConformance(t *testing.T) {
	floors := conformanceFloors
	if d := os.Getenv("SKUA_CONFORMANCE"); d != "" {
		if sub := filepath.Join(d, "submit"); isDir(sub) {
			d = sub
		}
		floors = map[string]int{d: 0}
	}
	for _, dir := range slices.Sorted(maps.Keys(floors)) {
		passed, failed := conformance(t, dir)
		if passed < floors[dir] {
			t.Errorf("%s: %d files pass, at least %d did before", dir, passed, floors[dir])
		}
		t.Logf("conformance: area=submit passed=%d failed=%d", passed, failed)
	}
}

func conformance(t *testing.T, dir string) (passed, failed int) {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.sub"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no descriptions in %s: %v", dir, err)
	}
	for _, f := range files {
		if err := conforms(dir, strings.TrimSuffix(filepath.Base(f), ".sub")); err != nil {
			failed++
			t.Logf("%s: %v", filepath.Base(f), err)
		} else {
			passed++
		}
	}
	return passed, failed
}

var errAccepted = errors.New("accepted, want an error")

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func conformanceOptions(dir string) Options {
	return Options{
		Dir: dir, User: "submitter", FSDomain: "example.test", DryRun: true, Now: time.Unix(1_700_000_000, 0).UTC(),
		OpSysVer: "1300", OpSysMajorVer: "13", OpSysAndVer: "Debian13", // of the corpus
		Environ:  []string{"PATH=/usr/bin:/bin", "HOME=/home/submitter", "TZ=UTC", "CORPUS_VAR=from-env"},
		ReadFile: os.ReadFile, Stat: os.Stat, Glob: filepath.Glob,
		Command: func(line string) ([]byte, error) {
			words := strings.Fields(line) // without a shell, as HTCondor has it
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Dir = dir
			return cmd.Output()
		},
	}
}

func conforms(dir, name string) error {
	src, err := os.ReadFile(filepath.Join(dir, name+".sub"))
	if err != nil {
		return err
	}
	sub, err := submit(name+".sub", src, conformanceOptions(dir))
	if _, statErr := os.Stat(filepath.Join(dir, name+".err.json")); statErr == nil {
		if err == nil {
			return errAccepted
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	want, err := readAnswer(dir, name)
	if err != nil {
		return err
	}
	return want.compare(sub, dir)
}

// answer is what HTCondor made of a description.
type answer struct {
	Jobs    int
	Factory bool
	Like    string // a description whose first job has the attributes that are not given
	Procs   []map[string]*string
}

func readAnswer(dir, name string) (answer, error) {
	var a answer
	text, err := os.ReadFile(filepath.Join(dir, name+".ads.json"))
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil || a.Like == "" {
		return a, err
	}
	like, err := readAnswer(dir, a.Like)
	if err != nil {
		return a, err
	}
	a.complete(like.Procs[0], name+".sub")
	return a, nil
}

// complete adds to each job the attributes of like that it does not give otherwise or deny with a null.
func (a *answer) complete(like map[string]*string, file string) {
	for i, p := range a.Procs {
		full := maps.Clone(like)
		quoted := `"` + file + `"`
		full["JobSubmitFile"] = &quoted
		for name, text := range p {
			if full[name] = text; text == nil {
				delete(full, name)
			}
		}
		a.Procs[i] = full
	}
}

func (a *answer) compare(sub *Submission, dir string) error {
	if len(sub.Procs) != a.Jobs {
		return fmt.Errorf("%d jobs, want %d", len(sub.Procs), a.Jobs)
	}
	for i, w := range a.Procs {
		if err := compareAds(sub.Procs[i].Ad.Flat(), w, a.Procs[0], dir, a.Factory); err != nil {
			return fmt.Errorf("proc %d: %w", i, err)
		}
	}
	return nil
}

func submit(name string, src []byte, opts Options) (*Submission, error) {
	d, err := Parse(name, src, opts)
	if err != nil {
		return nil, err
	}
	return d.Expand(1)
}

// compareAds compares got with the wanted attributes. What a later job lacks of the first one cannot
// be seen in the corpus, since there it is merged with the cluster's ad; factory is a cluster's ad.
func compareAds(got *classad.Ad, want, first map[string]*string, dir string, factory bool) error {
	seen := map[string]bool{}
	same := func(name string) bool {
		return first[name] != nil && want[name] != nil && *first[name] == *want[name]
	}
	for name, value := range want {
		seen[strings.ToLower(name)] = true
		text := strings.NewReplacer("$IWD", dir, "$USER", "submitter").Replace(*value)
		w, err := classad.ParseOldExpr(text)
		if err != nil {
			return fmt.Errorf("the corpus has %s = %s: %w", name, text, err)
		}
		g, ok := got.Lookup(name)
		if (!ok || g.OldString() == "undefined") && w.OldString() == "undefined" {
			continue
		}
		if !ok || g.OldString() == "undefined" {
			if same(name) && !same("ProcId") {
				continue
			}
			return fmt.Errorf("%s is missing, want %s", name, text)
		}
		if g.OldString() != w.OldString() {
			return fmt.Errorf("%s = %s, want %s", name, g.OldString(), w.OldString())
		}
	}
	for _, name := range got.Names() {
		key := strings.ToLower(name)
		g, _ := got.Lookup(name)
		if seen[key] || notCompared[key] || g.OldString() == "undefined" ||
			factory && (key == "procid" || key == "jobstatus" || key == "jobmaterializelimit") {
			continue
		}
		return fmt.Errorf("%s = %s is too much", name, g.OldString())
	}
	return nil
}
