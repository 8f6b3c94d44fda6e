package submitfile

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/policy/classad"
)

// conformanceFloor is how many of the files in testdata pass. Raise it when more do.
const conformanceFloor = 122

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
	dir, floor := "../../testdata/conformance/submit", conformanceFloor
	if d := os.Getenv("SKUA_CONFORMANCE"); d != "" {
		dir, floor = d, 0
		if sub := filepath.Join(d, "submit"); isDir(sub) {
			dir = sub
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.sub"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no descriptions in %s: %v", dir, err)
	}
	passed := 0
	for _, f := range files {
		if err := conforms(dir, strings.TrimSuffix(filepath.Base(f), ".sub")); err != nil {
			t.Logf("%s: %v", filepath.Base(f), err)
		} else {
			passed++
		}
	}
	t.Logf("conformance: area=submit passed=%d failed=%d", passed, len(files)-passed)
	if passed < floor {
		t.Errorf("%d files pass, at least %d did before", passed, floor)
	}
}

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
			cmd := exec.Command("sh", "-c", line)
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
			return fmt.Errorf("accepted, want an error")
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	var want struct {
		Jobs    int
		Factory bool
		Procs   []map[string]string
	}
	text, err := os.ReadFile(filepath.Join(dir, name+".ads.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &want); err != nil {
		return err
	}
	if len(sub.Procs) != want.Jobs {
		return fmt.Errorf("%d jobs, want %d", len(sub.Procs), want.Jobs)
	}
	for i, w := range want.Procs {
		if err := compareAds(sub.Procs[i].Ad.Flat(), w, want.Procs[0], dir, want.Factory); err != nil {
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
func compareAds(got *classad.Ad, want, first map[string]string, dir string, factory bool) error {
	seen := map[string]bool{}
	for name, text := range want {
		seen[strings.ToLower(name)] = true
		text = strings.NewReplacer("$IWD", dir, "$USER", "submitter").Replace(text)
		w, err := classad.ParseOldExpr(text)
		if err != nil {
			return fmt.Errorf("the corpus has %s = %s: %w", name, text, err)
		}
		g, ok := got.Lookup(name)
		if (!ok || g.OldString() == "undefined") && w.OldString() == "undefined" {
			continue
		}
		if !ok || g.OldString() == "undefined" {
			if first[name] == want[name] && first["ProcId"] != want["ProcId"] {
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
