package startd

import (
	"testing"
	"time"
)

// Jobs that are throttled stand still while the owner's programs do not leave them what they are to have.
func TestRoom(t *testing.T) {
	type look struct {
		after  time.Duration
		left   float64 // processors that the owner's programs have left since the look before
		want   float64 // that jobs are to have
		scarce bool
	}
	for _, tt := range []struct {
		name  string
		looks []look
	}{
		{"the first look knows nothing", []look{{time.Second, 0, 1, false}}},
		{"an owner who wants everything", []look{{time.Second, 4, 1, false}, {time.Second, 0, 1, true}, {time.Second, 0.1, 1, true}}},
		{"one who leaves the share", []look{{time.Second, 4, 1, false}, {time.Second, 1, 1, false}}},
		{"nearly the share is enough to go on", []look{{time.Second, 4, 1, false}, {time.Second, 0.8, 1, false}}},
		{"but not to begin again", []look{{time.Second, 4, 1, false}, {time.Second, 0.7, 1, true}, {time.Second, 0.9, 1, true}, {time.Second, 1.1, 1, false}}},
		{"a small share is left by most", []look{{time.Second, 4, 0.05, false}, {time.Second, 0.05, 0.05, false}, {time.Second, 0.03, 0.05, true}}},
		{"nobody is throttled any more", []look{{time.Second, 4, 1, false}, {time.Second, 0, 1, true}, {time.Second, 0, 0, false}}},
		{"nobody looked for a while", []look{{time.Second, 4, 1, false}, {time.Second, 0, 1, true}, {time.Hour, 0, 1, false}, {time.Second, 0, 1, true}}},
		{"the clock stands", []look{{time.Second, 4, 1, false}, {0, 0, 1, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r room
			at, free := time.Now(), time.Duration(0)
			for i, l := range tt.looks {
				at = at.Add(l.after)
				free += time.Duration(l.left * float64(l.after))
				if r = r.step(at, free, l.want); r.scarce != l.scarce {
					t.Errorf("look %d: scarce is %v", i+1, r.scarce)
				}
			}
		})
	}
}
