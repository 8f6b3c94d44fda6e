package diag_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"skua/internal/diag"
)

func TestPrint(t *testing.T) {
	var out strings.Builder
	err := fmt.Errorf("submit: %w", &diag.Problem{What: "no pool", Hint: "skua up makes one"})
	diag.Print(&out, "skua", err)
	if want := "skua: submit: no pool\nskua: hint: skua up makes one\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, diag.ExitOK},
		{errors.New("any"), diag.ExitFailure},
		{&diag.Problem{What: "any"}, diag.ExitFailure},
		{fmt.Errorf("wrapped: %w", &diag.Problem{Code: diag.ExitUsage}), diag.ExitUsage},
	} {
		if got := diag.ExitCode(tt.err); got != tt.want {
			t.Errorf("exit code of %v is %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"request_memory", "request_cpus", "queue", "executable"}
	for word, want := range map[string]string{
		"requst_memory": "request_memory",
		"Executible":    "executable",
		"qeueu":         "",
		"queeu":         "queue", // neighbours exchanged
		"zebra":         "",
		"":              "",
	} {
		if got := diag.Suggest(word, known); got != want {
			t.Errorf("for %q the suggestion is %q, want %q", word, got, want)
		}
	}
}
