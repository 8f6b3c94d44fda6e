package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/job"
	"skua/policy/classad"
)

func TestPlaces(t *testing.T) {
	iwd := t.TempDir()
	for _, tt := range []struct{ name, ad, output, dir, want string }{
		{"standard output", `Out = "o.txt"`, job.StdoutFile, "", "o.txt"},
		{"standard error, absolute", `Err = "/var/tmp/e"`, job.StderrFile, "", "/var/tmp/e"},
		{"unwanted output", `Out = "/dev/null"`, job.StdoutFile, "", ""},
		{"output that is not transferred", `Out = "o"; TransferOut = false`, job.StdoutFile, "", ""},
		{"a file of no description", ``, "made.dat", "", "made.dat"},
		{"declared", `TransferOutput = "made.dat, other"`, "made.dat", "", "made.dat"},
		{"declared in a directory", `TransferOutput = "results/made.dat"`, "results/made.dat", "", "made.dat"},
		{"declared directory", `TransferOutput = "x/results"`, "x/results/sub/made.dat", "", "results/sub/made.dat"},
		{"what is in a declared directory", `TransferOutput = "results/"`, "results/sub/made.dat", "", "sub/made.dat"},
		{"with its path", `TransferOutput = "results/made.dat"; PreserveRelativePaths = true`, "results/made.dat", "", "results/made.dat"},
		{"moved", `TransferOutputRemaps = "made.dat = sub/x.dat; b = c"`, "made.dat", "", "sub/x.dat"},
		{"moved with its directory", `TransferOutput = "logs"; TransferOutputRemaps = "logs = l1"`, "logs/deep/x.log", "", "l1/deep/x.log"},
		{"moved with the nearest directory", `TransferOutput = "logs"; TransferOutputRemaps = "logs = l1; logs/deep = /var/tmp/l2"`, "logs/deep/x.log", "", "/var/tmp/l2/x.log"},
		{"moved itself, out of its directory", `TransferOutput = "logs"; TransferOutputRemaps = "logs = l1; logs/x.log = y.log"`, "logs/x.log", "", "y.log"},
		{"moved, with odd names", `TransferOutputRemaps = "a\\=b = c\\;d"`, "a=b", "", "c;d"},
		{"hidden", ``, ".bashrc", "", ""},
		{"hidden, fetched elsewhere", ``, ".bashrc", "/els", ""},
		{"hidden, with its path", `PreserveRelativePaths = true`, ".ssh/authorized_keys", "", "authorized_keys"},
		{"hidden in what of a directory is wanted", `TransferOutput = "results/"`, "results/.ssh/authorized_keys", "", ""},
		{"hidden in a directory that is moved here", `TransferOutput = "results"; TransferOutputRemaps = "results = ."`, "results/.bashrc", "", ""},
		{"hidden and declared", `TransferOutput = ".rc"`, ".rc", "", ".rc"},
		{"hidden and declared, a directory", `TransferOutput = "x/.cache/"; PreserveRelativePaths = true`, "x/.cache/a", "", "x/.cache/a"},
		{"hidden and declared, with its path", `TransferOutput = ".cache/a"; PreserveRelativePaths = true`, ".cache/a", "", ".cache/a"},
		{"hidden and moved", `TransferOutputRemaps = ".rc = .job.rc"`, ".rc", "", ".job.rc"},
		{"in a directory that is moved to a hidden one", `TransferOutput = "c"; TransferOutputRemaps = "c = .cache/c"`, "c/a", "", ".cache/c/a"},
		{"hidden below a directory", `TransferOutput = "repo"`, "repo/.git/config", "", "repo/.git/config"},
		{"fetched elsewhere", `Out = "o.txt"`, job.StdoutFile, "/els", "/els/o.txt"},
		{"fetched elsewhere, absolute", `Out = "/var/tmp/o.txt"`, job.StdoutFile, "/els", "/els/o.txt"},
		{"fetched elsewhere, outside", `Out = "../o.txt"`, job.StdoutFile, "/els", "/els/o.txt"},
		{"outside by the user's will", `Out = "../o.txt"`, job.StdoutFile, "", filepath.Join(filepath.Dir(iwd), "o.txt")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			places, err := placesOf(adOf(t, iwd, tt.ad), []job.File{{Name: tt.output}}, tt.dir)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(places) > 0 {
				got = places[0].path
			}
			want := tt.want
			if want != "" && !filepath.IsAbs(want) {
				want = filepath.Join(iwd, want)
			}
			if got != want {
				t.Errorf("goes to %q, want %q", got, want)
			}
		})
	}
}

// TestFetchedElsewhereTogether: what would go to different places has different names in one.
func TestFetchedElsewhereTogether(t *testing.T) {
	for _, tt := range []struct{ name, ad, want string }{
		{"alone", `Out = "/a/log"`, "log err"},
		{"of two directories", `Out = "/a/log"; Err = "/b/log"`, "log b-log"},
		{"of two with one name", `Out = "/x/a/log"; Err = "/y/a/log"; TransferOutputRemaps = "made = /z/a/log"`, "log a-log z-a-log"},
		{"one of which is inside", `Out = "../log"; Err = "log"`, "-log log"},
		{"one file", `Out = "/a/log"; Err = "/a/log"`, "log log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ad := adOf(t, t.TempDir(), tt.ad)
			if _, ok := ad.Str("Err"); !ok {
				ad.SetString("Err", "err")
			}
			outputs := []job.File{{Name: job.StdoutFile}, {Name: job.StderrFile}}
			if _, ok := ad.Str("TransferOutputRemaps"); ok {
				outputs = append(outputs, job.File{Name: "made"})
			}
			places, err := placesOf(ad, outputs, "/els")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range places {
				got = append(got, strings.TrimPrefix(p.path, "/els/"))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("they are called %q, want %s", got, tt.want)
			}
		})
	}
}

func TestMovedInto(t *testing.T) {
	iwd := t.TempDir()
	for _, tt := range []struct{ name, ad, want string }{
		{"nothing", ``, ""},
		{"beside the others", `TransferOutputRemaps = "a = b"`, ""},
		{"a directory", `TransferOutputRemaps = "a = sub/b; c = /var/tmp/c"`, "/var/tmp sub"},
		{"an address", `TransferOutputRemaps = "a = https://example.org/a"`, ""},
		{"a directory that comes", `TransferOutput = "x/results, a"; TransferOutputRemaps = "a = results/a"`, ""},
		{"a directory that comes with its path", `TransferOutput = "x/results, a"; PreserveRelativePaths = true; TransferOutputRemaps = "a = results/a"`, "results"},
		{"a directory that is moved", `TransferOutput = "d, a"; TransferOutputRemaps = "d = out/d; a = out/d/deep/a"`, "out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for dir := range MovedInto(adOf(t, iwd, tt.ad)) {
				got = append(got, strings.TrimPrefix(dir, iwd+"/"))
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tt.want {
				t.Errorf("outputs go into %q, want %q", got, tt.want)
			}
		})
	}
}

// TestHostileNames: what a machine calls its files is not to be believed.
func TestHostileNames(t *testing.T) {
	for _, tt := range []struct{ name, ad, output string }{
		{"up", ``, "../.ssh/authorized_keys"},
		{"absolute", ``, "/etc/cron.d/x"},
		{"in between", ``, "a/../../x"},
		{"empty", ``, ""},
		{"the directory", ``, "."},
		{"not asked for", `TransferOutput = "made.dat"`, ".bashrc"},
		{"nothing asked for", `TransferOutput = ""`, "made.dat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			places, err := placesOf(adOf(t, t.TempDir(), tt.ad), []job.File{{Name: tt.output}}, "")
			if err == nil {
				t.Errorf("%q goes to %+v, want an error", tt.output, places)
			}
		})
	}
}

func adOf(t *testing.T, iwd, attrs string) *classad.Ad {
	t.Helper()
	ad, err := classad.ParseAd("[ " + attrs + " ]")
	if err != nil {
		t.Fatal(err)
	}
	ad.SetString("Iwd", iwd)
	return ad
}

func TestFetchPlacesFiles(t *testing.T) {
	iwd := t.TempDir()
	inline := func(name, text string, mode uint32) job.File {
		return job.File{Name: name, Size: int64(len(text)), Inline: []byte(text), Mode: mode}
	}
	fetch := func(attrs string, f job.File) error {
		places, err := placesOf(adOf(t, iwd, attrs), []job.File{f}, "")
		if err != nil {
			t.Fatal(err)
		}
		mode, err := places[0].prepare()
		if err != nil {
			return err
		}
		return places[0].fetch(t.Context(), nil, nil, mode, nil)
	}
	moved := filepath.Join(t.TempDir(), "l2")
	if err := fetch(fmt.Sprintf(`TransferOutput = "logs"; TransferOutputRemaps = "logs = %s"`, moved), inline("logs/deep/x", "log", 0o600)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(moved, "deep", "x")); err != nil || string(b) != "log" {
		t.Errorf("a file in a directory that was moved is %q (%v)", b, err)
	}
	if err := os.WriteFile(filepath.Join(iwd, "o"), []byte("old and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetch(`Out = "o"`, inline(job.StdoutFile, "new", 0o600)); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(iwd, "o")); string(data) != "new" {
		t.Errorf("the output is %q (%v), want what was there replaced", data, err)
	}
	if err := fetch(`TransferOutput = "d"`, inline("d/e/tool", "#!", 0o755)); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(iwd, "d/e/tool"))
	if err != nil || st.Mode().Perm()&0o100 == 0 {
		t.Errorf("a program below a declared directory: %v, %v; want it executable", st, err)
	}
	for _, tt := range []struct{ name, attrs, want string }{
		{"a directory that is not there", `Out = "none/o"`, "is not there"},
		{"a directory in the way", `Out = "d"`, "not a plain file"},
		{"a directory that is a file", `Out = "o/x"`, "no file can be made in " + filepath.Join(iwd, "o") + ": not a directory"},
	} {
		if err := fetch(tt.attrs, inline(job.StdoutFile, "x", 0o644)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want one with %q", tt.name, err, tt.want)
		}
	}
	left, err := filepath.Glob(filepath.Join(iwd, ".skua*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPlantedLink: who else may write into the directory cannot have a file of the user's written over.
func TestPlantedLink(t *testing.T) {
	iwd, keys := t.TempDir(), filepath.Join(t.TempDir(), "authorized_keys")
	if err := os.WriteFile(keys, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(keys, filepath.Join(iwd, ".skua.o")); err != nil {
		t.Skip(err)
	}
	p := place{file: job.File{Size: 6, Inline: []byte("theirs"), Mode: 0o755}, base: iwd, path: filepath.Join(iwd, "o")}
	mode, err := p.prepare()
	if err == nil {
		err = p.fetch(t.Context(), nil, nil, mode, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(p.path); err != nil || string(b) != "theirs" {
		t.Errorf("the output is %q, %v", b, err)
	}
	b, err := os.ReadFile(keys)
	fi, serr := os.Stat(keys)
	if err != nil || serr != nil || string(b) != "mine" || fi.Mode() != 0o600 {
		t.Errorf("what a link led to is %q, %v, %v", b, fi.Mode(), errors.Join(err, serr))
	}
}

// FuzzPlaces: whatever a machine calls a file, and whatever was asked for, what the user has not named
// stays in the job's directory.
func FuzzPlaces(f *testing.F) {
	f.Add("made.dat", "", "a=b;c = d\\;e")
	f.Add("results/sub/made.dat", "results/", "")
	f.Add("../x", "..", "../x = y")
	f.Fuzz(func(t *testing.T, name, declared, remap string) {
		ad := classad.NewAd()
		ad.SetString("Iwd", "/home/ann/jobs")
		if declared != "" {
			ad.SetString("TransferOutput", declared)
		}
		ad.SetString("TransferOutputRemaps", remap)
		places, err := placesOf(ad, []job.File{{Name: name}}, "")
		if err != nil {
			return
		}
		named := map[string]bool{}
		for _, r := range job.RemapsOf(remap) {
			named[filepath.Join("/home/ann/jobs", r.Place)], named[filepath.Clean(r.Place)] = true, true
		}
		for _, p := range places {
			if rel, err := filepath.Rel("/home/ann/jobs", p.path); !named[p.path] && (err != nil || !filepath.IsLocal(rel)) {
				t.Errorf("%q goes to %q", name, p.path)
			}
		}
	})
}
