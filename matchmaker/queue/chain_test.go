package queue

import (
	"slices"
	"strings"
	"testing"

	"skua/internal/bus"
)

func TestChainFindsWhatFits(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	for range 3 {
		submit(t, q, "ann", 1)
	}
	stop()
	var good []string
	if err := log.Read(t.Context(), 1, func(_ uint64, data []byte) error {
		good = append(good, string(data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		damage func(r []string) []string
		want   string
	}{
		{"nothing", func(r []string) []string { return r }, ""},
		{"a changed letter", func(r []string) []string {
			r[2] = strings.Replace(r[2], `"ANN"`, `"ANA"`, 1)
			return r
		}, "event 3: its checksum is"},
		{"a lost record", func(r []string) []string { return slices.Delete(r, 1, 2) }, "event 2: its checksum is"},
		{"records that changed places", func(r []string) []string {
			r[1], r[2] = r[2], r[1]
			return r
		}, "event 2: its checksum is"},
		{"a record without checksum among others", func(r []string) []string {
			plain, _, _ := unseal([]byte(r[3]))
			r[3] = string(plain)
			return r
		}, "event 4: it has no checksum"},
		{"a log of the first releases, gone on with", func(r []string) []string {
			log := bus.NewMemoryLog()
			for i, sealed := range r[:2] {
				plain, _, _ := unseal([]byte(sealed))
				if _, err := log.Append(t.Context(), uint64(i), [][]byte{plain}); err != nil {
					t.Fatal(err)
				}
			}
			q, stop := start(t, Config{Log: log})
			submit(t, q, "bob", 1)
			stop()
			r = nil
			if err := log.Read(t.Context(), 1, func(_ uint64, data []byte) error {
				r = append(r, string(data))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return r
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := bus.NewMemoryLog()
			for i, r := range tt.damage(slices.Clone(good)) {
				if _, err := log.Append(t.Context(), uint64(i), [][]byte{[]byte(r)}); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(t.Context(), Config{Log: log})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want something with %q", err, tt.want)
			}
		})
	}
}
