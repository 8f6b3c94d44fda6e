package membership

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/trust"
)

func TestUnreached(t *testing.T) {
	m := &Membership{URL: "https://head.example.edu:7443"}
	for _, tt := range []struct {
		err        error
		what, hint string
		code       int
	}{
		{
			fmt.Errorf("connect: %w", bus.ErrRefused),
			"the matchmaker at https://head.example.edu:7443 does not know this key, or not any more", "skua login TOKEN", diag.ExitFailure,
		},
		{
			fmt.Errorf("connect: %w", bus.ErrNoAnswer),
			"the matchmaker at https://head.example.edu:7443 cannot be reached", "TCP port 7443", diag.ExitUnreachable,
		},
		{
			errors.New("the certificate is another"),
			"the matchmaker at https://head.example.edu:7443 cannot be reached: the certificate is another", "TCP port 7443", diag.ExitUnreachable,
		},
		{
			fmt.Errorf("connect: %w: its authority is 12…", trust.ErrWrongAuthority),
			"another matchmaker answers at https://head.example.edu:7443 than that of your pool", "set up anew", diag.ExitUnreachable,
		},
		{
			fmt.Errorf("connect: %w", &net.DNSError{Err: "no such host", Name: "head.example.edu", IsNotFound: true}),
			"this machine does not know the name head.example.edu, at which the matchmaker is", "--url https://ADDRESS:7443", diag.ExitUnreachable,
		},
	} {
		err := m.unreached(tt.err)
		var p *diag.Problem
		if !errors.As(err, &p) || p.What != tt.what || !strings.Contains(p.Hint, tt.hint) || diag.ExitCode(err) != tt.code || !errors.Is(err, tt.err) {
			t.Errorf("%v became %+v with exit code %d", tt.err, p, diag.ExitCode(err))
		}
	}
}

// Nobody should read what a library calls it when nobody listens.
func TestDialNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	dir := t.TempDir()
	identity, err := ownKey(dir, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	m := &Membership{URL: "https://" + l.Addr().String(), Fingerprint: strings.Repeat("ab", 32), ID: "u1", identity: identity}
	_, err = m.Dial(bus.Config{FailFast: true})
	if err == nil || err.Error() != "the matchmaker at "+m.URL+" cannot be reached" {
		t.Errorf("error is %v", err)
	}
}
