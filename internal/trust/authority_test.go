package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"skua/internal/diag"
)

func TestAuthorityIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trust")
	first := openAuthority(t, dir)
	if got := openAuthority(t, dir).Fingerprint(); got != first.Fingerprint() {
		t.Errorf("after a restart the fingerprint is %s, want %s", got, first.Fingerprint())
	}
	if other := openAuthority(t, t.TempDir()); other.Fingerprint() == first.Fingerprint() {
		t.Error("two authorities have the same fingerprint")
	}
	st, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Mode().Perm(); got != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode of ca.key is %04o, want 0600", got)
	}
}

func TestAuthorityAfterDamage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string // in the error; empty for none
	}{
		{"a first start that was cut short goes on", func(t *testing.T, dir string) { remove(t, dir, "ca.pem") }, ""},
		{"the key is missing", func(t *testing.T, dir string) { remove(t, dir, "ca.key") }, "ca.key is missing"},
		{"the key is garbage", func(t *testing.T, dir string) { overwrite(t, dir, "ca.key", "x") }, "holds no private key"},
		{"the certificate is garbage", func(t *testing.T, dir string) { overwrite(t, dir, "ca.pem", "x") }, "holds no certificate"},
		{"the certificate is another's", func(t *testing.T, dir string) {
			overwrite(t, dir, "ca.pem", string(openAuthority(t, t.TempDir()).PEM()))
		}, "is not the certificate of"},
		{"the key may be read by others", func(t *testing.T, dir string) {
			if runtime.GOOS == "windows" {
				t.Skip("modes mean nothing on Windows")
			}
			if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "may be read by others"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			openAuthority(t, dir)
			tt.damage(t, dir)
			_, err := OpenAuthority(dir)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			var p *diag.Problem
			if strings.Contains(tt.want, "missing") && (!errors.As(err, &p) || p.Hint == "") {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}

func TestClientTrustsThePinnedAuthorityOnly(t *testing.T) {
	pool, other := openAuthority(t, t.TempDir()), openAuthority(t, t.TempDir())
	// A server that shows the pool's authority beside a leaf that this one has not issued.
	forged := other.ServerTLS()
	forged.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		leaf, err := other.currentLeaf(time.Now())
		if err != nil {
			return nil, err
		}
		forged := *leaf
		forged.Certificate = [][]byte{leaf.Certificate[0], pool.cert.Raw}
		return &forged, nil
	}
	for _, tt := range []struct {
		name   string
		server *tls.Config
		host   string
		ok     bool
	}{
		{"by name", pool.ServerTLS(), "head", true},
		{"by address", pool.ServerTLS(), "10.0.0.1", true},
		{"another authority", other.ServerTLS(), "head", false},
		{"a leaf of another authority", forged, "head", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := ClientTLS(pool.Fingerprint())
			if err != nil {
				t.Fatal(err)
			}
			client.ServerName = tt.host
			err = handshake(t, tt.server, client)
			if tt.ok && err != nil {
				t.Errorf("got %v, want a connection", err)
			}
			if !tt.ok && !errors.Is(err, ErrWrongAuthority) {
				t.Errorf("got %v, want %v", err, ErrWrongAuthority)
			}
		})
	}
}

func TestClientSaysThatAClockIsWrong(t *testing.T) {
	a := openAuthority(t, t.TempDir())
	leaf, err := a.currentLeaf(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{leaf.Leaf, a.cert}
	for _, tt := range []struct {
		name string
		now  time.Time
		ok   bool
	}{
		{"now", time.Now(), true},
		{"a clock some hours behind", time.Now().Add(-20 * time.Hour), true},
		{"a clock years behind", time.Now().AddDate(-3, 0, 0), false},
		{"after its end", time.Now().AddDate(0, 4, 0), false},
	} {
		err := verifyPinned(chain, a.Fingerprint(), tt.now)
		if tt.ok != (err == nil) {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), tt.now.Format(time.DateTime)) {
			t.Errorf("%s: %v does not tell this machine's time", tt.name, err)
		}
	}
}

func TestLeafIsRenewedInTime(t *testing.T) {
	a := openAuthority(t, t.TempDir())
	start := time.Now()
	var last *tls.Certificate
	renewals := 0
	for day := range 365 {
		now := start.AddDate(0, 0, day)
		leaf, err := a.currentLeaf(now)
		if err != nil {
			t.Fatal(err)
		}
		if left := leaf.Leaf.NotAfter.Sub(now); left < 29*24*time.Hour {
			t.Fatalf("on day %d the leaf has %v left", day, left)
		}
		if leaf != last {
			last = leaf
			renewals++
		}
	}
	if renewals < 4 || renewals > 8 {
		t.Errorf("%d leaves in a year, want one about every 60 days", renewals)
	}
}

func TestClientTLSRefusesAMalformedFingerprint(t *testing.T) {
	for _, fp := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("x", 64), strings.Repeat("0", 66)} {
		if _, err := ClientTLS(fp); err == nil {
			t.Errorf("%q was accepted", fp)
		}
	}
}

// handshake returns the client's error.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.(*tls.Conn).Handshake() // its error is the client's too
	}()
	defer func() { <-done }()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	return tls.Client(raw, client).Handshake()
}

func openAuthority(t testing.TB, dir string) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
