package retain

import (
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

// Clock returns the runtime's clock when the timer at this address was started, which was to fire
// after d; 0 when the timer is not found. The runtime keeps each pending timer beside the time when
// it fires.
func Clock(h *heapdump.Dump, timer uint64, d time.Duration) int64 {
	target := h.Find(timer)
	if target == heapdump.None {
		return 0
	}
	for o := range int32(h.Len()) {
		to, word := h.Edges(o)
		for i, t := range to {
			if t != target || o == target {
				continue
			}
			b, err := h.Contents(o, uint64(word[i]+1)*uint64(h.PtrSize), 8)
			if err == nil && len(b) == 8 && signed(b) > int64(d) {
				return signed(b) - int64(d)
			}
		}
	}
	return 0
}
