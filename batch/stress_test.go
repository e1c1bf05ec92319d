package batch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/internal/testgate"
)

// FuzzIsolate checks the promise of Options.Split for any pattern of bad items: outcomes, order,
// the number of calls, and the number of hand-overs of each item.
func FuzzIsolate(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(uint16(1+seed*17%500), seed, uint8(seed*9))
	}
	f.Fuzz(func(t *testing.T, size uint16, seed uint64, share uint8) {
		n := 1 + int(size)%600
		r := rand.New(rand.NewPCG(seed, 3))
		bad := map[int]bool{}
		for i := 0; i < n; i++ {
			if r.IntN(256) < int(share)/8 {
				for k := r.IntN(1 + int(share)); k >= 0 && i < n; k-- {
					bad[i] = true
					i++
				}
			}
		}
		isolates(t, n, bad)
	})
}

// Every pattern of bad items in every batch of up to ten items, eight without LEAKSAFE_CI, keeps
// the promise of Options.Split.
func TestEveryPatternOfBadItems(t *testing.T) {
	for n := 1; n <= testgate.Count(8, 10, 10); n++ {
		for pattern := range 1 << n {
			bad := map[int]bool{}
			for i := range n {
				if pattern>>i&1 == 1 {
					bad[i] = true
				}
			}
			isolates(t, n, bad)
		}
	}
}

func isolates(t *testing.T, n int, bad map[int]bool) {
	synctest.Test(t, func(t *testing.T) {
		var list []int
		for i := range n {
			if bad[i] {
				list = append(list, i)
			}
		}
		o, tries, last := told{}, map[int]int{}, -1
		r := record(func(_ context.Context, _ int, items []int) error {
			for _, v := range items {
				tries[v]++
			}
			for _, v := range items {
				if bad[v] {
					return fmt.Errorf("%w: %d", errInvalid, v)
				}
			}
			if items[0] <= last {
				t.Errorf("item %d was delivered after %d", items[0], last)
			}
			last = items[len(items)-1]
			return nil
		})
		b := start(t, batch.Options[int]{MaxItems: n, PendingItems: n, Split: isInvalid, Backoff: 1, Observer: o.observe}, r.handle)
		addAll(t, b, ints(n)...)
		finish(t, b)
		most, used := 4*(1+log2(n)), false
		given := 0
		for v := range n {
			err := o[v]
			used = used || tries[v] == most // all of its attempts
			switch {
			case errors.Is(err, batch.ErrGivenUp):
				if !bad[v] {
					given++
				}
			case bad[v]:
				require.EqualError(t, err, fmt.Sprintf("invalid item: %d", v))
			default:
				require.NoError(t, err)
			}
			require.LessOrEqual(t, tries[v], most)
		}
		require.LessOrEqual(t, len(r.calls), mostCalls(n, list), "%d items, bad %v", n, list)
		runs, longest := runsOf(list)
		if !used && runs == 1 {
			require.LessOrEqual(t, given, len(list), "good items that were given up")
		}
		if !used && longest <= log2(n) {
			require.Zero(t, given, "no run is long")
		}
	})
}

// A search for a better method than Options.Split documents. Bad items form one run. A call gets
// the items from the first one without an outcome up to any other, because order is kept. It tells
// only whether one of them is bad. An item fails when it is refused alone, and nothing is given up.
// A method may know that no run is longer than most. The search finds out whether any method keeps
// to limit calls for every run, after the batch was refused as a whole.
func TestNoMethodIsolatesInFewerCalls(t *testing.T) {
	testgate.NoRace(t)
	for _, n := range []int{4, 8, 16} {
		l := log2(n)
		documented := func(k int) int { return l + k + 2 }
		assert.True(t, possible(n, l, documented), "%d items: the documented method is found", n)
		if n > 4 { // four items have too few runs of each length
			assert.False(t, possible(n, l, func(int) int { return 2 * l }), "%d items, 2L for every run up to L", n)
			assert.False(t, possible(n, 2, func(k int) int { return l + k + 1 }), "%d items, L+k+1", n)
		}
	}
}

// A run is the first bad item and how many there are.
type run struct{ first, k int }

// possible reports whether some method isolates every run of at most most items, in a batch of n,
// with at most limit calls.
func possible(n, most int, limit func(k int) int) bool {
	type state struct {
		runs       string // that are still possible
		lo, called int
	}
	known := map[state]bool{}
	var solve func(runs []run, lo, called int) bool
	solve = func(runs []run, lo, called int) (ok bool) {
		if len(runs) == 0 {
			return true
		}
		for _, r := range runs {
			if called > limit(r.k) || lo < n && called == limit(r.k) {
				return false
			}
		}
		if lo == n {
			return true
		}
		at := state{fmt.Sprint(runs), lo, called}
		if ok, found := known[at]; found {
			return ok
		}
		defer func() { known[at] = ok }()
		for hi := lo + 1; hi <= n; hi++ {
			var refused, delivered []run
			for _, r := range runs {
				if r.first < hi && r.first+r.k > lo {
					refused = append(refused, r)
				} else {
					delivered = append(delivered, r)
				}
			}
			next := lo // after a refusal
			if hi == lo+1 {
				next = hi // the item has failed
			} else if len(delivered) == 0 {
				continue // nothing is learned
			}
			if solve(delivered, hi, called+1) && solve(refused, next, called+1) {
				return true
			}
		}
		return false
	}
	var runs []run
	for first := range n {
		for k := 1; k <= most && first+k <= n; k++ {
			runs = append(runs, run{first, k})
		}
	}
	return solve(runs, 0, 0)
}

// runsOf returns how many runs of neighbours a sorted list has, and the length of the longest.
func runsOf(list []int) (runs, longest int) {
	k := 0
	for i, v := range list {
		if k++; i == 0 || v != list[i-1]+1 {
			runs, k = runs+1, 1
		}
		longest = max(longest, k)
	}
	return runs, longest
}

// Random producers, cancels, panics, timeouts, failures and closes on real time: every item has
// exactly one outcome. It runs for 0.3 s, a second with LEAKSAFE_CI, five minutes with
// LEAKSAFE_LONG.
func TestStress(t *testing.T) {
	d := time.Duration(testgate.Count(300, 1000, 300_000)) * time.Millisecond
	var items, batchers, calls int64
	for end := time.Now().Add(d); time.Now().Before(end); {
		s := newStress(t, rand.Uint64())
		s.run()
		items += s.stats.Admitted
		calls += s.stats.Calls
		batchers++
		if t.Failed() {
			return
		}
	}
	t.Logf("%d batchers, %d items, %d calls in %v", batchers, items, calls, d)
}

type stress struct {
	t        *testing.T
	seed     uint64
	outcomes sync.Map // of each item: *atomic.Int64
	admitted atomic.Int64
	told     atomic.Int64
	stats    batch.Stats
	silent   bool         // there is no Observer
	logged   atomic.Int64 // items that the log was told of
	c        *batch.Caller[int64, int64]
	k        *batch.Keyed[int64, int64]
}

func newStress(t *testing.T, seed uint64) *stress {
	s := &stress{t: t, seed: seed}
	r := rand.New(rand.NewPCG(seed, 1))
	opt := batch.Options[int64]{
		MaxItems: 1 + r.IntN(20), Linger: time.Duration(1 + r.IntN(int(2*time.Millisecond))), PendingItems: 1 + r.IntN(60), MaxWaiters: 1 + r.IntN(20),
		InFlight: 1 + r.IntN(4), Timeout: time.Duration(1 + r.IntN(int(3*time.Millisecond))), Attempts: r.IntN(4), Backoff: time.Duration(1 + r.IntN(int(time.Millisecond))),
		Reject: r.IntN(4) == 0, Idempotent: r.IntN(2) == 0, MaxAge: time.Duration(3+r.IntN(30)) * time.Millisecond,
		Observer: func(items []int64, err error) {
			for _, v := range items {
				s.outcome(v)
			}
			if err != nil && items[0]%3 == 0 {
				s.put(func(v int64) error { return s.tryAdd(v) })
			}
		},
	}
	if opt.Attempts != 1 {
		opt.Split = isInvalid
	}
	key := func(v int64) int64 { return v % 5 }
	var err error
	switch r.IntN(3) {
	case 0:
		s.c, err = batch.NewCaller(opt, s.answer)
	case 1:
		s.c, err = batch.NewKeyedCaller(opt, key, func(ctx context.Context, _ int64, items []int64) ([]batch.Result[int64], error) {
			return s.answer(ctx, items)
		})
	default:
		opt.HoldKeys = r.IntN(2) == 0
		if r.IntN(2) == 0 {
			opt.Observer, s.silent = nil, true
		}
		s.k, err = batch.NewKeyed(opt, func(ctx context.Context, _ int64, items []int64) error {
			_, err := s.answer(ctx, items)
			return err
		})
	}
	require.NoError(t, err)
	return s
}

func (s *stress) tryAdd(v int64) error {
	if s.k != nil {
		return s.k.TryAdd(v%5, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := s.c.Submit(ctx, v)
	return err
}

// answer is a handler that behaves at random.
func (s *stress) answer(ctx context.Context, items []int64) ([]batch.Result[int64], error) {
	rs := make([]batch.Result[int64], len(items))
	for i, v := range items {
		rs[i].Value = 2 * v
	}
	switch rand.IntN(14) {
	case 0:
		panic("stress")
	case 1:
		runtime.Goexit()
	case 2:
		<-ctx.Done()
		return nil, ctx.Err()
	case 3:
		time.Sleep(time.Duration(rand.IntN(int(5 * time.Millisecond))))
	case 4:
		return rs, &batch.Failure{Err: errDown, Items: map[int]error{rand.IntN(len(items)): nil}}
	case 5:
		return nil, &batch.Failure{Err: errDown, RetryAfter: time.Duration(rand.IntN(int(time.Millisecond))), PauseAll: true}
	case 6:
		return nil, errInvalid
	case 7:
		return nil, errDown
	case 8:
		rs[0].Err = errDown
	}
	return rs, nil
}

// put adds a new item, and remembers it if it was admitted.
func (s *stress) put(add func(v int64) error) {
	v := s.admitted.Add(1)
	n := new(atomic.Int64)
	s.outcomes.Store(v, n)
	if add(v) != nil {
		s.outcomes.Delete(v) // nothing may be told of it
	}
}

func (s *stress) outcome(v int64) {
	s.told.Add(1)
	if n, ok := s.outcomes.Load(v); ok {
		n.(*atomic.Int64).Add(1)
	}
}

// Handle makes s a slog.Handler: it counts.
func (s *stress) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "items" {
			s.logged.Add(a.Value.Int64())
		}
		return true
	})
	return nil
}

func (s *stress) Enabled(context.Context, slog.Level) bool { return true }
func (s *stress) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *stress) WithGroup(string) slog.Handler            { return s }

func (s *stress) run() {
	if s.silent {
		defer logTo(s)()
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					s.step(i)
				}
			}
		})
	}
	time.Sleep(time.Duration(rand.IntN(int(20 * time.Millisecond))))
	var returned int64
	for closed := false; !closed; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(int(10*time.Millisecond))))
		n, err := s.close(ctx)
		cancel()
		returned += n
		closed = err == nil || s.silent && strings.Contains(err.Error(), "since the batcher was made")
	}
	close(stop)
	wg.Wait()
	if s.c != nil {
		s.stats = s.c.Stats()
	} else {
		s.stats = s.k.Stats()
	}
	st := s.stats
	sum := st.Delivered + st.Failed + st.Expired
	told := s.told.Load()
	if s.silent {
		told = st.Delivered + s.logged.Load()
		want := "batch: " + plural(st.Failed, "item") + " failed"
		if err := s.k.Close(context.Background()); err != nil && !strings.HasPrefix(err.Error(), want) {
			s.t.Errorf("seed %d: %v, want %s", s.seed, err, want)
		}
	}
	if st.Pending != 0 || st.Admitted != sum+st.Withdrawn+st.Returned || told != sum || returned != st.Returned {
		s.t.Errorf("seed %d: told %d, returned %d, %+v", s.seed, s.told.Load(), returned, st)
	}
	s.outcomes.Range(func(v, n any) bool {
		if got := n.(*atomic.Int64).Load(); got > 1 {
			s.t.Errorf("seed %d: item %d has %d outcomes", s.seed, v, got)
		}
		return true
	})
}

func (s *stress) step(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(int(3*time.Millisecond))))
	defer cancel()
	switch {
	case i%50 == 49 && s.c != nil:
		_ = s.c.Flush(ctx)
	case i%50 == 49:
		_ = s.k.Flush(ctx)
		for key := range int64(5) {
			s.k.Resume(key)
		}
	case s.c == nil:
		s.put(func(v int64) error { return s.k.Add(ctx, v%5, v) })
	case i%7 == 0:
		for range s.c.DoAll(ctx, []int64{1 << 40, 1<<40 + 1, 1<<40 + 2}) {
		}
	case i%2 == 0:
		v := s.admitted.Add(1)
		if got, err := s.c.Do(ctx, v); err == nil && got != 2*v {
			s.t.Errorf("seed %d: Do(%d) returned %d", s.seed, v, got)
		}
	default:
		s.put(func(v int64) error { _, err := s.c.Submit(ctx, v); return err })
	}
}

func (s *stress) close(ctx context.Context) (returned int64, err error) {
	if s.c != nil {
		err = s.c.Close(ctx)
	} else {
		err = s.k.Close(ctx)
	}
	var flat *batch.DrainError[int64]
	var keyed *batch.DrainError[batch.Entry[int64, int64]]
	switch {
	case errors.As(err, &flat):
		for _, v := range append(flat.Undelivered, flat.InDoubt...) {
			s.countOnly(v)
		}
		return int64(len(flat.Undelivered) + len(flat.InDoubt)), err
	case errors.As(err, &keyed):
		for _, x := range append(keyed.Undelivered, keyed.InDoubt...) {
			s.countOnly(x.Item)
		}
		return int64(len(keyed.Undelivered) + len(keyed.InDoubt)), err
	}
	return 0, err
}

// countOnly is outcome for the items that Close gave back, which the Observer is not told.
func (s *stress) countOnly(v int64) {
	if n, ok := s.outcomes.Load(v); ok {
		n.(*atomic.Int64).Add(1)
	}
}

// Callers without an Observer: each ticket and each Do gets the result of its own item, and as many
// are nil errors as Stats count delivered items. Handlers, timeouts and Close are random.
func TestEachCallerGetsItsOwnResult(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 4))
		s := &stress{t: t, seed: seed}
		c, err := batch.NewCaller(batch.Options[int64]{
			MaxItems: 1 + r.IntN(20), Linger: time.Duration(1 + r.IntN(int(time.Millisecond))), PendingItems: 1 + r.IntN(60), InFlight: 1 + r.IntN(4),
			Timeout: time.Duration(1 + r.IntN(int(3*time.Millisecond))), Attempts: 1 + r.IntN(3), Backoff: time.Duration(1 + r.IntN(int(time.Millisecond))),
		}, s.answer)
		require.NoError(t, err)
		var delivered atomic.Int64
		check := func(v, got int64, err error) {
			switch {
			case err != nil:
			case got != 2*v:
				t.Errorf("seed %d: item %d got %d", seed, v, got)
			default:
				delivered.Add(1)
			}
		}
		var wg sync.WaitGroup
		for id := range int64(4) {
			wg.Go(func() {
				for v := 1000 * id; v < 1000*id+60; v++ {
					if v%5 == 0 {
						got, err := c.Do(context.Background(), v)
						check(v, got, err)
						continue
					}
					ticket, err := c.Submit(context.Background(), v)
					if err != nil {
						continue
					}
					wg.Go(func() {
						for range 2 { // a ticket can be read again
							if got, err := ticket.Wait(context.Background()); err == nil && got != 2*v {
								t.Errorf("seed %d: item %d got %d", seed, v, got)
							}
						}
						got, err := ticket.Wait(context.Background())
						check(v, got, err)
					})
				}
			})
		}
		if r.IntN(2) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(int(10*time.Millisecond))))
			_ = c.Close(ctx)
			cancel()
		}
		wg.Wait()
		require.NoError(t, c.Close(context.Background()))
		require.NoError(t, c.AtRest())
		st := c.Stats()
		require.EqualValues(t, st.Delivered, delivered.Load(), "seed %d: %+v", seed, st)
	}
}
