package starter

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
)

// Where a runner cannot be known by the socket it listens at, as on Windows, it and its agent prove to each
// other that they know the claim's secret, which stands in a file that only they may read. Neither says it:
// whoever listens at the address of a runner that is gone learns nothing, and is not believed.

const secretSize = 32

// errStranger says that the other end of a connection does not know the claim's secret.
var errStranger = errors.New("the process at the other end does not know the claim's secret")

// greetRunner is the agent's half: it asks first, and answers last.
func greetRunner(c io.ReadWriter, secret []byte) error {
	mine := make([]byte, secretSize)
	_, _ = rand.Read(mine) // never fails
	if _, err := c.Write(mine); err != nil {
		return err
	}
	answer := make([]byte, sha256.Size+secretSize)
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if !hmac.Equal(answer[:sha256.Size], proof(secret, "runner", mine)) {
		return errStranger
	}
	_, err := c.Write(proof(secret, "agent", answer[sha256.Size:]))
	return err
}

// greetAgent is the runner's half.
func greetAgent(c io.ReadWriter, secret []byte) error {
	theirs := make([]byte, secretSize)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return err
	}
	mine := make([]byte, secretSize)
	_, _ = rand.Read(mine)
	if _, err := c.Write(append(proof(secret, "runner", theirs), mine...)); err != nil {
		return err
	}
	answer := make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if !hmac.Equal(answer, proof(secret, "agent", mine)) {
		return errStranger
	}
	return nil
}

func proof(secret []byte, who string, nonce []byte) []byte {
	h := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(h, who)
	_, _ = h.Write(nonce)
	return h.Sum(nil)
}
