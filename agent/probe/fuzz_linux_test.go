package probe

import "testing"

func FuzzParseServer(f *testing.F) {
	f.Add([]byte("/usr/lib/xorg/Xorg\x00:0\x00-auth\x00/var/run/x\x00"))
	f.Add([]byte("X\x00-auth"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseServer(b); ok && (s.auth == "" || s.display < anyDisplay) {
			t.Errorf("%q gives %+v", b, s)
		}
	})
}

func FuzzFileEvents(f *testing.F) {
	f.Add(make([]byte, 48))
	f.Add(append([]byte{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}, "7\x00\x00\x00"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for ev := range fileEvents(b) {
			total += 16 + len(ev.name)
		}
		if total > len(b) {
			t.Errorf("%d bytes of events out of %d", total, len(b))
		}
	})
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add("ID=ubuntu\nVERSION_ID=\"22.04\"\n")
	f.Add("NAME='A B'\nVERSION_ID=x")
	f.Fuzz(func(t *testing.T, text string) {
		if o := parseOSRelease(text); o.major < -1 || o.minor < -1 {
			t.Errorf("%q gives %+v", text, o)
		}
	})
}
