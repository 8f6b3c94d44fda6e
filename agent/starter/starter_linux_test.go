package starter

import (
	"log/slog"
	"testing"
)

func TestCapabilities(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	c := s.Capabilities(t.Context())
	t.Logf("%+v", c)
}
