package diag_test

import (
	"testing"

	"skua/internal/diag"
)

func TestMisspelt(t *testing.T) {
	known := []string{"Requirements", "RequestCpus", "RequestGPUs", "Memory", "Rank"}
	for word, want := range map[string]string{
		"Requirments": "Requirements", "requirementss": "Requirements", "Memroy": "Memory", "Memery": "Memory", "Rnak": "",
		"Requirements": "", "REQUESTGPUS": "", "Memo": "", "MyOwn": "", "": "",
	} {
		if got := diag.Misspelt(word, known); got != want {
			t.Errorf("Misspelt(%q) = %q, want %q", word, got, want)
		}
	}
}
