package server

import (
	"os"
	"testing"
)

func TestNameOf(t *testing.T) {
	const nobodys = 1<<31 - 9 // an id that no system gives to anybody
	own, err := nameOf(os.Getuid(), nobodys)
	if err != nil {
		t.Skip("the user of this test has no name: ", err)
	}
	for _, tt := range []struct {
		name     string
		uid, own int
		want     string // "" for nobody
	}{
		{"with a name", os.Getuid(), nobodys, own},
		{"the matchmaker's own, with a name", os.Getuid(), os.Getuid(), own},
		{"the matchmaker's own, without", nobodys, nobodys, "uid2147483639"},
		{"another one without", nobodys, os.Getuid(), ""},
	} {
		if got, err := nameOf(tt.uid, tt.own); got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}
