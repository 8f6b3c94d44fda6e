package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"skua/internal/fit"
)

func TestReason(t *testing.T) {
	for _, tt := range []struct{ name, log, want string }{
		{"empty", "", ""},
		{"nothing wrong", "(00.001000) Warn  (criu/kerndat.c:1200): $XDG_RUNTIME_DIR not set\n", ""},
		{
			"the cause, not its consequences",
			"(00.010) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n" +
				"(00.038026) Error (criu/sk-inet.c:137): inet: Unsupported proto 262 for socket 10723\n" +
				"(00.038041) Error (criu/cr-dump.c:1545): Dump files (pid: 1000) failed with -1\n" +
				"(00.051645) Error (criu/cr-dump.c:1975): Dumping FAILED.\n",
			"inet: Unsupported proto 262 for socket 10723",
		},
		{
			"in a restored task",
			"(00.020)   1000: Error (criu/files-reg.c:2135): File scratch/in has bad size 51 (expect 21)\n" +
				"(00.021) Error (criu/cr-restore.c:1480): 1000 exited, status=1\n",
			"File scratch/in has bad size 51 (expect 21)",
		},
		{
			"in a task whose memory is put together",
			"(00.211056) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n" +
				"(00.664254) pie: 1001: \tmmap(0x7f809586d000 -> 0x7f809587d000, 0x3 0x4038 -1)\n" +
				"(00.664317) pie: 1001: Error (criu/pie/restorer.c:1883): Can't restore 0x7f809586d000 mapping with 0xffffffffffffffea\n" +
				"(00.665466) Error (criu/cr-restore.c:2331): Restoring FAILED.\n" +
				"(00.672700) Error (criu/cr-restore.c:1269): 1000 killed by signal 9: Killed\n",
			"this machine's kernel does not map its memory as it was (Can't restore 0x7f809586d000 mapping with 0xffffffffffffffea)",
		},
		{"nothing but what is harmless", "(00.010) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n", ""},
		{"only consequences", "(00.051645) Error (criu/cr-dump.c:1975): Dumping FAILED.\n", "Dumping FAILED"},
		{"made fit for a terminal", "(00.1) Error (a.c:1): bad \x1b[31mfile\xff\n", "bad  [31mfile"},
		{"cut", "(00.1) Error (a.c:1): " + strings.Repeat("x", 1000) + "\n", strings.Repeat("x", 200) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(strings.NewReader(tt.log)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseVersion(t *testing.T) {
	got, err := parseVersion([]byte("Version: 4.2.1\nGitID: v4.2.1\n"))
	if got != "4.2.1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := parseVersion([]byte("usage: something else")); err == nil {
		t.Errorf("nonsense is version %q", got)
	}
}

func TestFind(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("programs have no mode here")
	}
	opt, path := t.TempDir(), t.TempDir()
	t.Setenv("PATH", path)
	program := func(p string, mode os.FileMode) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	plain := program(filepath.Join(opt, "text"), 0o644)
	for _, step := range []string{ // the best first
		program(filepath.Join(opt, "skua/criu/bin/criu"), 0o755),
		program(filepath.Join(opt, "criu4/bin/criu"), 0o755),
		program(filepath.Join(opt, "criu3/bin/criu"), 0o755),
		program(filepath.Join(path, "criu"), 0o755),
	} {
		got, err := find("", opt)
		if err != nil || got != step {
			t.Errorf("found %q (%v), want %q", got, err, step)
		}
		if got, err := find(step, t.TempDir()); err != nil || got != step {
			t.Errorf("configured as %q it is %q (%v)", step, got, err)
		}
		if err := os.Remove(step); err != nil {
			t.Fatal(err)
		}
	}
	for _, configured := range []string{plain, opt, filepath.Join(opt, "missing")} {
		if got, err := find(configured, opt); err == nil {
			t.Errorf("configured as %q it is %q", configured, got)
		}
	}
}

func TestMeta(t *testing.T) {
	m := Meta{
		Pid: 1000, LastPid: 1234, FreePid: 20000, Monotonic: time.Hour, Boottime: 2 * time.Hour, Stopped: true,
		Used:  Usage{User: time.Second, System: time.Millisecond, MaxRSS: 1 << 20, Wall: time.Minute},
		Needs: fit.Needs{Features: []string{"avx"}, Files: []fit.File{{Path: "/usr/lib/libc.so.6", ID: "0123456789abcdef/1922136"}}, More: 1},
	}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := ReadMeta(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, MetaName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	m.V, m.Arch = metaVersion, runtime.GOARCH
	if got, err := ReadMeta(dir); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v (%v), want %+v", got, err, m)
	}
}

// Every version that was ever written can be read.
func TestOldMeta(t *testing.T) {
	files, err := filepath.Glob("testdata/v*/" + MetaName)
	if err != nil || len(files) != metaVersion {
		t.Fatalf("found samples %v (%v), want one per version", files, err)
	}
	for _, f := range files {
		if m, err := ReadMeta(filepath.Dir(f)); err != nil || m.Pid != 1000 {
			t.Errorf("%s: %+v, %v", f, m, err)
		}
	}
}

func TestParseMetaRefuses(t *testing.T) {
	const good = `{"v":1,"arch":"amd64","pid":1000,"last_pid":1000,"free_pid":2000,"monotonic_ns":1,"boottime_ns":1}`
	if _, err := ParseMeta([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"v":1`, `"v":2`},
		{`"v":1`, `"v":0`},
		{`{`, ``},
		{`"pid":1000`, `"pid":1`},
		{`"pid":1000`, `"pid":4194304`},
		{`"free_pid":2000`, `"free_pid":-1`},
		{`"last_pid":1000`, `"last_pid":99999999`},
		{`ic_ns":1`, `ic_ns":-1`},
		{`{`, `{"needs":{"features":["\n"]},`},
		{`{`, `{"needs":{"files":[{"path":"../x","id":"?/1"}]},`},
		{`{`, strings.Repeat(" ", maxMeta) + `{`},
	} {
		if m, err := ParseMeta([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("with %.20q for %q it is %+v", change[1], change[0], m)
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	f.Add([]byte(`{"v":1,"arch":"amd64","pid":1000,"last_pid":1000,"free_pid":2000,"monotonic_ns":1,"boottime_ns":1}`))
	f.Add([]byte(`{"v":1,"pid":2,"last_pid":2,"free_pid":2,"needs":{"features":["avx"],"files":[{"path":"/usr/x","id":"?/1"}],"more":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMeta(b)
		if err != nil {
			return
		}
		again, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseMeta(again)
		if err != nil {
			t.Fatal(err)
		}
		m.V, m.Arch = metaVersion, runtime.GOARCH
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v", m, got)
		}
	})
}

func FuzzReason(f *testing.F) {
	f.Add("(00.1) Error (a.c:1): bad\n")
	f.Fuzz(func(t *testing.T, log string) {
		if got := reason(strings.NewReader(log)); strings.ContainsAny(got, "\n\x1b\x00") || len(got) > 4*201 {
			t.Errorf("%q is no clause", got)
		}
	})
}
