package trust

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrBadSignature means that what was signed is not what is there, or that somebody else has signed it.
var ErrBadSignature = errors.New("the signature is not that of this pool's authority")

// SignStatement signs a statement of the pool's, of one purpose, with the authority's key. The statement
// is for members that know the authority by its fingerprint, and who need not trust those that carry it.
// The signature comes with the authority's certificate, since a fingerprint verifies nothing by itself.
func (a *Authority) SignStatement(purpose string, statement []byte) (signature, certificate []byte, err error) {
	signature, err = ecdsa.SignASN1(rand.Reader, a.key, statementDigest(purpose, statement))
	if err != nil {
		return nil, nil, fmt.Errorf("sign a statement: %w", err)
	}
	return signature, a.cert.Raw, nil
}

// VerifyStatement checks that a statement was signed for that purpose by the authority with the given
// fingerprint. Its error is [ErrBadSignature], whatever is wrong.
func VerifyStatement(fp, purpose string, statement, signature, certificate []byte) error {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return fmt.Errorf("%w: its certificate cannot be read", ErrBadSignature)
	}
	if is := fingerprint(cert); is != fp {
		return fmt.Errorf("%w: it was signed by that with the fingerprint %.16s…, and this pool's is %.16s…", ErrBadSignature, is, fp)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, statementDigest(purpose, statement), signature) {
		return ErrBadSignature
	}
	return nil
}

// statementDigest is what is signed. The authority's key signs certificates, too: the text in front has
// no statement be one, nor one of another purpose.
func statementDigest(purpose string, statement []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "skua statement 1\x00%s\x00", purpose)
	h.Write(statement)
	return h.Sum(nil)
}
