package fit

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	libc   = "/usr/lib/x86_64-linux-gnu/libc.so.6"
	stdcxx = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30"
)

func TestFits(t *testing.T) {
	sum := Digested(sha256.Sum256([]byte("one")), 3)
	for _, tt := range []struct {
		want, have ID
		fits       bool
	}{
		{"58254ca972028402/1922136", "58254ca972028402/1922136", true},
		{"58254ca972028402/1922136", "58254ca972028402/1922137", false}, // CRIU: has bad size
		{"58254ca972028402/1922136", "68254ca972028402/1922136", false}, // CRIU: has bad build-ID
		{"58254ca972028402/1922136", "?/1922136", false},                // one has been stripped of its ID
		{"?/1922136", "58254ca972028402/1922136", false},
		{"58254ca972028402/1922136", Absent, false},
		{Absent, Absent, false},
		{sum, sum, true},
		{sum, Digested(sha256.Sum256([]byte("two")), 3), false},
		{sum, Unread(3), true}, // nobody has looked yet
		{Unread(3), sum, true},
		{Unread(3), Unread(3), true},
		{Unread(3), Unread(4), false},
		{sum, Unread(4), false},
		{Unread(3), Absent, false},
	} {
		if got := tt.want.Fits(tt.have); got != tt.fits {
			t.Errorf("%q for %q fits: %v", tt.have, tt.want, got)
		}
	}
	if id := Built(nil, 7); id != "?/7" || !id.Unread() {
		t.Errorf("without a build ID it is %q", id)
	}
}

// machine is what a machine says of its files.
func machine(files ...File) func(string) ID {
	return func(path string) ID {
		for _, f := range files {
			if f.Path == path {
				return f.ID
			}
		}
		return ""
	}
}

func TestOn(t *testing.T) {
	needs := Needs{
		Features: []string{"avx", "avx2", "sse2"},
		Files:    []File{{libc, "58254ca972028402/1922136"}, {stdcxx, "99254ca972028402/2190440"}},
	}
	all := machine(needs.Files...)
	for _, tt := range []struct {
		name     string
		needs    Needs
		features string
		files    func(string) ID
		want     string
	}{
		{"the same", needs, "avx,avx2,sse2", all, ""},
		{"more features", needs, "aes,avx,avx2,avx512f,sse2", all, ""},
		{"fewer features", needs, "aes,avx,sse2", all, "its checkpoint was made on a processor with avx2, which this machine's lacks"},
		{"no features are known", needs, "", all, "its checkpoint was made on a processor with avx, avx2, sse2, which this machine's lacks"},
		{"nothing is needed", Needs{}, "", machine(), ""},
		{"files of which nothing is known", needs, "avx,avx2,sse2", machine(), ""},
		{
			"another library", needs, "avx,avx2,sse2", machine(File{libc, "11254ca972028402/1922136"}),
			"this machine's " + libc + " is not the one that its checkpoint was made with (build ID 58254ca972028402)",
		},
		{
			"other libraries", needs, "avx,avx2,sse2", machine(File{libc, "11254ca972028402/1922136"}, File{stdcxx, Absent}),
			"this machine's " + libc + " is not the one that its checkpoint was made with (build ID 58254ca972028402); another file differs as well",
		},
		{
			"no such library", needs, "avx,avx2,sse2", machine(needs.Files[0], File{stdcxx, Absent}),
			"this machine has no " + stdcxx + ", which its checkpoint needs (build ID 99254ca972028402)",
		},
		{
			"many features",
			Needs{Features: []string{"a", "b", "c", "d", "e", "f", "g"}},
			"", machine(),
			"its checkpoint was made on a processor with a, b, c, d, e and 2 more features that this machine's lacks",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.needs.On(ParseFeatures(tt.features), tt.files).String(); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestUnion(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{"avx,sse2", "avx,avx2", "avx,avx2,sse2"},
		{"", "sse2 avx", "avx,sse2"},
		{"", "", ""},
		{"AVX,x87?,avx", "f16c", "avx,f16c"},
	} {
		got := FeatureList(Union(strings.Split(tt.a, ","), ParseFeatures(tt.b)))
		if got != tt.want {
			t.Errorf("%q and %q give %q, want %q", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	many := func(n int) (files []File) {
		for i := range n {
			files = append(files, File{fmt.Sprint("/usr/lib/", i), Unread(1)})
		}
		return files
	}
	for _, tt := range []struct {
		name        string
		n           Needs
		good, whole bool
	}{
		{"nothing", Needs{}, true, true},
		{"usual", Needs{Features: []string{"avx512_vnni"}, Files: []File{{libc, "58254ca972028402/1922136"}}}, true, true},
		{"too many features", Needs{Features: make([]string, MaxFeatures+1)}, false, false},
		{"a feature that is none", Needs{Features: []string{`a" || true`}}, false, false},
		{"an empty feature", Needs{Features: []string{""}}, false, false},
		{"too many files for the log", Needs{Files: many(MaxFiles + 1)}, false, true},
		{"too many files", Needs{Files: many(MaxWhole + 1)}, false, false},
		{"a path with a quote", Needs{Files: []File{{`/usr/"`, Unread(1)}}}, false, false},
		{"a relative path", Needs{Files: []File{{"usr/lib", Unread(1)}}}, false, false},
		{"a path that leads elsewhere", Needs{Files: []File{{"/usr/../etc", Unread(1)}}}, false, false},
		{"a long path", Needs{Files: []File{{"/" + strings.Repeat("x", maxPath), Unread(1)}}}, false, false},
		{"no ID", Needs{Files: []File{{libc, ""}}}, false, false},
		{"an ID with a quote", Needs{Files: []File{{libc, `a"/1`}}}, false, false},
		{"a file that is not there", Needs{Files: []File{{libc, Absent}}}, false, false},
		{"fewer than none", Needs{More: -1}, false, false},
	} {
		if err := tt.n.Check(); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := tt.n.CheckWhole(); (err == nil) != tt.whole {
			t.Errorf("%s, in the image: %v", tt.name, err)
		}
	}
}

// What is trimmed can be sent, and what has build IDs is kept rather than other files.
func TestTrim(t *testing.T) {
	n := Needs{Features: []string{"sse2", "avx", "avx"}, Files: []File{{"/odd path", Unread(1)}, {libc, "58254ca972028402/1922136"}}}
	for i := range 3 * MaxFiles {
		n.Files = append(n.Files, File{fmt.Sprintf("/usr/share/a-long-name-of-a-file-which-is-data-and-has-no-build-id/%d", i), Unread(1)})
	}
	got := n.Trim()
	if err := got.Check(); err != nil {
		t.Fatal(err)
	}
	if got.Files[0].Path != libc || got.More != len(n.Files)-len(got.Files) || len(got.Files) < 50 || FeatureList(got.Features) != "avx,sse2" {
		t.Errorf("%d of %d files are left, %d more, the first %v; features %v", len(got.Files), len(n.Files), got.More, got.Files[0], got.Features)
	}
	if again := got.Trim(); !again.Equal(&got) {
		t.Errorf("trimmed again it changes: %v", again)
	}
}

func TestAttr(t *testing.T) {
	if got := Attr(stdcxx); got != "File_usr_lib_x86_64_linux_gnu_libstdc___so_6_0_30" {
		t.Errorf("got %s", got)
	}
}

func FuzzLists(f *testing.F) {
	f.Add("avx,sse2", libc+"=58254ca972028402/1922136,"+stdcxx+"=sha256:0011223344556677/12")
	f.Fuzz(func(t *testing.T, features, files string) {
		n := Needs{Features: ParseFeatures(features), Files: ParseFiles(files)}
		if err := n.CheckWhole(); err != nil {
			t.Fatal(err)
		}
		if got := ParseFeatures(FeatureList(n.Features)); !slices.Equal(got, n.Features) {
			t.Errorf("%q became %q", n.Features, got)
		}
		if got := ParseFiles(n.FileList()); !slices.Equal(got, n.Files) {
			t.Errorf("%q became %q", n.Files, got)
		}
	})
}

func FuzzNeeds(f *testing.F) {
	f.Add([]byte(`{"features":["avx"],"files":[{"path":"` + libc + `","id":"58254ca972028402/1922136"}],"more":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var n Needs
		if json.Unmarshal(b, &n) != nil {
			return
		}
		trimmed := n.Trim()
		if n.CheckWhole() == nil || n.More >= 0 {
			if err := trimmed.Check(); err != nil {
				t.Errorf("%v trimmed is %v: %v", n, trimmed, err)
			}
		}
		if misfit := trimmed.On(trimmed.Features, machine(trimmed.Files...)).String(); misfit != "" && !repeated(trimmed.Files) {
			t.Errorf("%v does not fit where it comes from: %s", trimmed, misfit)
		}
	})
}

// repeated reports whether a path has two IDs.
func repeated(files []File) bool {
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.Path] {
			return true
		}
		seen[f.Path] = true
	}
	return false
}
