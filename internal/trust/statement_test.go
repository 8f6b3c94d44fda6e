package trust

import (
	"bytes"
	"errors"
	"testing"
)

func TestStatement(t *testing.T) {
	ours, err := OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("jobs run at night")
	sig, cert, err := ours.SignStatement("policy", text)
	if err != nil {
		t.Fatal(err)
	}
	theirSig, theirCert, err := theirs.SignStatement("policy", text)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sig)
	flipped[len(flipped)-1] ^= 1
	for _, tt := range []struct {
		name            string
		purpose         string
		text, sig, cert []byte
		good            bool
	}{
		{"as it was signed", "policy", text, sig, cert, true},
		{"for another purpose", "roster", text, sig, cert, false},
		{"purpose and text shifted", "policyj", text[1:], sig, cert, false},
		{"another text", "policy", []byte("jobs run at noon"), sig, cert, false},
		{"another signature", "policy", text, flipped, cert, false},
		{"no signature", "policy", text, nil, cert, false},
		{"of another pool", "policy", text, theirSig, theirCert, false},
		{"of another pool, with our certificate", "policy", text, theirSig, cert, false},
		{"no certificate", "policy", text, sig, nil, false},
		{"something after the certificate", "policy", text, sig, append(bytes.Clone(cert), 0), false},
	} {
		err := VerifyStatement(ours.Fingerprint(), tt.purpose, tt.text, tt.sig, tt.cert)
		if (err == nil) != tt.good || err != nil && !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
