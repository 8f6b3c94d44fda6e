package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"skua/internal/diag"
)

// How long certificates live. The authority outlives the pool's machines, because its fingerprint is
// what they hold; a leaf is short-lived, because it is not revoked but left to expire.
const (
	authorityLife = 30 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	leafRenew     = 30 * 24 * time.Hour // before its end
	clockSlack    = 24 * time.Hour      // a desktop's clock may be this far behind
)

// Authority is the matchmaker's own certificate authority. It issues certificates to nobody but the
// matchmaker that holds it; [ClientTLS] builds on that.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu   sync.Mutex
	leaf *tls.Certificate // guarded by mu; nil until first asked for
}

// OpenAuthority opens the authority in dir, and makes one at first start: dir/ca.pem, which may be
// shown to anybody, and dir/ca.key.
func OpenAuthority(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	haveCert, err := exists(certFile)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	haveKey, err := exists(keyFile)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	if haveCert && !haveKey {
		return nil, &diag.Problem{
			What: fmt.Sprintf("%s is missing but %s is there", keyFile, certFile),
			Hint: "restore it from a backup; a new authority (remove ca.pem) means that every machine and user must join again",
		}
	}
	// The key is written first. A key without a certificate is a first start that was cut short:
	// nobody has seen a fingerprint yet.
	if !haveKey {
		if err := createKey(keyFile); err != nil {
			return nil, fmt.Errorf("make authority: %w", err)
		}
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	if !haveCert {
		if err := createAuthorityCert(certFile, key); err != nil {
			return nil, fmt.Errorf("make authority: %w", err)
		}
	}
	cert, err := readCert(certFile)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("open authority: %s is not the certificate of %s", certFile, keyFile)
	}
	return &Authority{cert: cert, key: key}, nil
}

// Fingerprint is the SHA-256 of the authority's certificate in hex. It is what join tokens carry.
func (a *Authority) Fingerprint() string { return fingerprint(a.cert) }

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// ServerTLS configures the matchmaker's listeners. Leaves are renewed while it is in use, without a
// restart.
func (a *Authority) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.currentLeaf(time.Now()) },
	}
}

// currentLeaf gives a certificate that stays valid for at least leafRenew. Leaves are kept in memory
// only: making one takes a fraction of a millisecond, and what is not on disk is not copied.
func (a *Authority) currentLeaf(now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaf == nil || now.After(a.leaf.Leaf.NotAfter.Add(-leafRenew)) || now.Before(a.leaf.Leaf.NotBefore) {
		leaf, err := a.issue(now)
		if err != nil {
			return nil, fmt.Errorf("issue the matchmaker's certificate: %w", err)
		}
		a.leaf = leaf
	}
	return a.leaf, nil
}

func (a *Authority) issue(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Skua matchmaker"},
		DNSNames:     []string{"skua-matchmaker"},
		NotBefore:    now.Add(-clockSlack),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// The authority travels along, since a client may know no more of it than the fingerprint.
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ErrWrongAuthority is wrapped by a TLS handshake's error when the server's certificate is not of the
// pinned authority.
var ErrWrongAuthority = errors.New("the server is not this pool's matchmaker")

// ClientTLS configures a connection to the matchmaker whose authority has the given fingerprint.
//
// The certificate must chain to exactly that authority; the system's authorities do not count, and
// the host name is not looked at. That is safe because a host name only says which one of the many
// servers certified by an authority is meant, and this authority certifies one: whoever holds a key
// under it is the matchmaker, by whatever name or address an administrator wrote into the token.
func ClientTLS(fp string) (*tls.Config, error) {
	pin, err := hex.DecodeString(fp)
	if err != nil || len(pin) != sha256.Size {
		return nil, fmt.Errorf("%q is not the SHA-256 fingerprint of an authority", fp)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Turns off only the verification that VerifyConnection replaces.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyPinned(cs.PeerCertificates, hex.EncodeToString(pin), time.Now())
		},
	}, nil
}

func verifyPinned(chain []*x509.Certificate, pin string, now time.Time) error {
	if len(chain) < 2 {
		return fmt.Errorf("%w: it shows no authority", ErrWrongAuthority)
	}
	var authority *x509.Certificate
	for _, c := range chain[1:] {
		if fingerprint(c) == pin {
			authority = c
		}
	}
	if authority == nil {
		return fmt.Errorf("%w: its authority is %.16s…, the token's is %.16s…", ErrWrongAuthority, fingerprint(chain[len(chain)-1]), pin)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("the matchmaker's certificate is not valid at this machine's time, %s: %w", now.Format(time.DateTime), err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrongAuthority, err)
	}
	return nil
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func createKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return createSecret(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no private key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of another kind (%T)", path, key)
	}
	return ec, nil
}

func createAuthorityCert(path string, key *ecdsa.PrivateKey) error {
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Skua pool authority"},
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	return replaceFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func readCert(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of an authority", path)
	}
	return cert, nil
}
