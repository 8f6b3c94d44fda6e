package quantity

import "testing"

// The least of two shares is never more than either, whatever they are of.
func TestLeast(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{"75%", "50%", "50%"},
		{"4", "2", "2"},
		{"75%", "4", "75%, at most 4"},
		{"75%", "0", "0"},
		{"0%", "4", "0"},
		{"0", "0", "0"},
	} {
		var a, b Share
		if err := a.UnmarshalText([]byte(tt.a)); err != nil {
			t.Fatal(err)
		}
		if err := b.UnmarshalText([]byte(tt.b)); err != nil {
			t.Fatal(err)
		}
		got := a.Least(b)
		if got.String() != tt.want || b.Least(a) != got {
			t.Errorf("of %s and %s the least is %s, and the other way round %s; want %s", tt.a, tt.b, got, b.Least(a), tt.want)
		}
		for total := int64(0); total < 20; total++ {
			if n := got.Of(total); n != min(a.Of(total), b.Of(total)) {
				t.Errorf("%s of %d is %d, and %d of %s, %d of %s", got, total, n, a.Of(total), tt.a, b.Of(total), tt.b)
			}
		}
	}
	for _, tt := range []struct{ a, b, want string }{
		{"50%", "25%", "25%"},
		{"4GB", "2GB", "2GB"},
		{"50%", "4GB", "50%, at most 4GB"},
		{"50%", "0", "0"},
		{"0%", "4GB", "0"},
	} {
		var a, b ByteShare
		if err := a.UnmarshalText([]byte(tt.a)); err != nil {
			t.Fatal(err)
		}
		if err := b.UnmarshalText([]byte(tt.b)); err != nil {
			t.Fatal(err)
		}
		got := a.Least(b)
		if got.String() != tt.want || b.Least(a) != got {
			t.Errorf("of %s and %s the least is %s, and the other way round %s; want %s", tt.a, tt.b, got, b.Least(a), tt.want)
		}
		for total := Bytes(0); total < 20e9; total += 1e9 {
			if n := got.Of(total); n != min(a.Of(total), b.Of(total)) {
				t.Errorf("%s of %s is %s, and %s of %s, %s of %s", got, total, n, a.Of(total), tt.a, b.Of(total), tt.b)
			}
		}
	}
}
