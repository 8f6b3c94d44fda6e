//go:build faults && linux

package bus

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"skua/internal/faultctl"
)

// disturbed has some messages come twice, and some late, so that others overtake them. It still calls deliver for
// one at a time.
func disturbed(deliver nats.MsgHandler) nats.MsgHandler {
	var mu sync.Mutex
	one := func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		deliver(m)
	}
	return func(m *nats.Msg) {
		percent := faultctl.Messages()
		late := func() {
			time.AfterFunc(time.Duration(rand.Int64N(int64(1500*time.Millisecond))), func() { one(m) })
		}
		switch n := rand.Int64N(100); {
		case n < percent:
			one(m)
			late()
		case n < 2*percent:
			late()
		default:
			one(m)
		}
	}
}
