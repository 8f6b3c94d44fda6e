package client

import (
	"encoding/json"
	"slices"
	"testing"
)

// FuzzStringsOf: a row is read as the JSON that it is.
func FuzzStringsOf(f *testing.F) {
	for _, row := range []string{`[]`, `["1"]`, `["1","\"out.5\"","\"a \\\"b\\\" \\\\\"","é\u00e9"]`, `[ "1" , "2" ]`, `["1",2]`, `["1"`, `["1\\`, `["1",]`, `["\u12"]`} {
		f.Add([]byte(row))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want []string
		wantErr := json.Unmarshal(raw, &want)
		got, err := stringsOf(raw, nil)
		if wantErr == nil && (err != nil || !slices.Equal(got, want)) {
			t.Errorf("%s gave %q, %v, want %q", raw, got, err, want)
		}
	})
}
