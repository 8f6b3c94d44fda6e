package job

import (
	"slices"
	"testing"
)

func TestRemaps(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []Remap
	}{
		{``, nil},
		{` ; ;`, nil},
		{`a = b; c/d=e f ;`, []Remap{{Text: "a = b", Name: "a", Place: "b"}, {Text: " c/d=e f ", Name: "c/d", Place: "e f"}}},
		{`a\=b\;c = d\\e = f`, []Remap{{Text: `a\=b\;c = d\\e = f`, Name: "a=b;c", Place: `d\e = f`}}},
		{`a; = b; c = `, []Remap{{Text: "a", Name: "a", Malformed: true}, {Text: " = b", Place: "b"}, {Text: " c = ", Name: "c"}}},
		{`C:\a = b\`, []Remap{{Text: `C:\a = b\`, Name: `C:\a`, Place: `b\`}}},
	} {
		if got := RemapsOf(tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("%q is read as %+v, want %+v", tt.text, got, tt.want)
		}
	}
}
