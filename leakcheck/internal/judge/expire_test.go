package judge

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// expiring keeps the entry of each operation for a time.
func expiring(ttl time.Duration) shape {
	type look struct {
		clock time.Duration
		ops   int
	}
	past := []look{{}}
	return func(ops int, clock time.Duration) (int64, int64) {
		past = append(past, look{clock, ops})
		n, from := int64(ops), clock-ttl
		for i, b := range past[1:] {
			if a := past[i]; a.clock <= from && from < b.clock {
				n = int64(ops-a.ops) - int64(b.ops-a.ops)*int64(from-a.clock)/int64(b.clock-a.clock)
			}
		}
		return n, 48 * n
	}
}

// paced is a whole check, with rounds at another pace before the second retry, in which operations
// take between low and high.
func (r *recording) paced(low, high time.Duration) Finding {
	random := rand.New(rand.NewPCG(uint64(low), uint64(high)))
	cost := func() time.Duration { return low + time.Duration(random.Int64N(int64(high-low))) }
	r.iterations = min(20, max(4, int(16*time.Millisecond/low)))
	r.scales(look, cost())
	if !r.suspicious() {
		return Finding{Verdict: Steady}
	}
	r.confirm(look, cost())
	f := Judge(r.rounds, r.series, 0)
	if f.Verdict == Growing {
		r.pace(look, cost())
		f = Judge(r.rounds, r.series, 0)
	}
	if f.Verdict == Noisy || f.Steps {
		r.confirm(look, cost())
		f = Judge(r.rounds, r.series, 0)
	}
	return f
}

// Entries that expire within half of the time that a check takes are no leak: they have filled the
// cache, or go away while few operations run.
func TestExpiring(t *testing.T) {
	reasons := map[Reason]int{}
	for cost := 50 * time.Microsecond; cost < 6*time.Millisecond; cost = cost * 9 / 8 {
		for ttl := 50 * time.Millisecond; ttl < 8*time.Second; ttl = ttl * 17 / 16 {
			r := newRecording(20, expiring(ttl))
			f := r.paced(cost, cost*7/4)
			if ttl < r.clock/2 {
				assert.Contains(t, []Verdict{Steady, Saturating}, f.Verdict, "%v for an operation, entries for %v, in %v", cost, ttl, r.clock)
				reasons[f.Reason]++
			}
		}
		for name, leak := range map[string]shape{"objects": perOp(1, 1, 48), "now and then": perOp(1, 50, 48), "a slice": appended} {
			assert.Equal(t, Growing, newRecording(20, leak).paced(cost, cost*7/4).Verdict, "%s, %v for an operation", name, cost)
		}
	}
	t.Log(reasons)
	assert.NotZero(t, reasons[ByTime])
}
