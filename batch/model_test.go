package batch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/internal/testgate"
)

// The model records what callers and handlers were told about every item, and compares. It runs
// random operations against random handlers in a synctest bubble.

// An item knows who added it: the items of a stream are added one after the
// other by one goroutine, and so have an order. Stream -1 has none.
type item struct{ id, key, stream, size int }

// A truth is what happened to one item, as seen from outside the package.
type truth struct {
	item
	admitted bool
	handed   int       // times a handler got it
	active   bool      // in a handler's hands
	reported int       // times a handler said it was delivered
	outcomes []string  // as told to the Observer, to Close, to a Do
	late     bool      // failed with ErrTimeout: may be reported all the same
	told     error     // by Do
	unknown  bool      // a call with it left open what became of it
	after    time.Time // no hand-over before
}

// A script is read byte by byte; behind its end it is all zeros.
type script struct{ data []byte }

func (s *script) next() int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b)
}

func (s *script) upTo(n int) int { return s.next() % (n + 1) }

// A logLine is what the log was told when there is no Observer.
type logLine struct {
	at             time.Time
	items, expired int64
}

// Handle makes the model a slog.Handler. It also adds an item now and then, and must not wait.
func (m *model) Handle(_ context.Context, r slog.Record) error {
	l := logLine{at: time.Now()}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "items":
			l.items = a.Value.Int64()
		case "expired in all":
			l.expired = a.Value.Int64()
		}
		return true
	})
	m.mu.Lock()
	if n := len(m.lines); n > 0 && l.at.Sub(m.lines[n-1].at) < 10*time.Second && !m.closing {
		m.errorf("a line %v after the one before: %+v", l.at.Sub(m.lines[n-1].at), l)
	}
	m.lines = append(m.lines, l)
	adds := l.items%2 == 1 && !m.ending
	m.mu.Unlock()
	if adds {
		it := m.make(0, int(l.items), 1, false)
		switch err := m.s.add(context.Background(), it); {
		case err == nil:
			m.admit(it)
		case !errors.Is(err, batch.ErrFull) && !errors.Is(err, batch.ErrClosed):
			m.errorf("Add from the log: %v", err)
		}
		if err := m.s.flush(context.Background()); err == nil || !strings.Contains(err.Error(), "log handler") {
			m.errorf("Flush from the log: %v", err)
		}
	}
	if d := time.Since(l.at); d > 0 {
		m.errorf("the log waited for %v", d)
	}
	m.audit()
	return nil
}

func (m *model) Enabled(context.Context, slog.Level) bool { return true }
func (m *model) WithAttrs([]slog.Attr) slog.Handler       { return m }
func (m *model) WithGroup(string) slog.Handler            { return m }

// A subject has the methods that Batcher, Caller and Keyed share, and do, which only Caller has.
type subject struct {
	add    func(context.Context, item) error
	try    func(item) error
	all    func(context.Context, []item) (int, error)
	do     func(context.Context, item) (int, error)
	flush  func(context.Context) error
	close  func(context.Context) (undelivered, inDoubt []item, err error)
	resume func(key int) bool
	stats  func() batch.Stats
	audit  func() error
	atRest func() error
}

type model struct {
	t      *testing.T
	opt    batch.Options[item]
	keyed  bool
	script *script
	behave []int // of the handler, by call

	mu     sync.Mutex
	s      subject
	truths []*truth
	calls  int
	active int
	keys   map[int]bool // busy
	held   map[int]bool // an item of the key was not delivered
	tries  int          // that an item may have
	paused time.Time    // until then, since
	since  time.Time
	first  map[int]int // the newest id that was handed over, by stream
	start  time.Time   // of the last call
	silent bool        // there is no Observer
	lines  []logLine   // told instead

	wg        sync.WaitGroup
	producers [3]chan func()
	closed    bool
	closing   bool
	ending    bool
}

func (m *model) errorf(format string, args ...any) {
	m.t.Helper()
	m.t.Errorf(format, args...)
}

func runModel(t *testing.T, data []byte) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{t: t, script: &script{data}, keys: map[int]bool{}, held: map[int]bool{}, first: map[int]int{}}
		m.configure()
		if m.silent {
			defer logTo(m)()
		}
		for i := range m.producers {
			m.producers[i] = make(chan func(), 256)
			m.wg.Go(func() {
				for op := range m.producers[i] {
					op()
				}
			})
		}
		for range 80 {
			m.step()
			m.audit()
		}
		m.finish()
	})
}

func (m *model) configure() {
	s := m.script
	ms := time.Millisecond
	m.opt = batch.Options[item]{
		MaxItems: 1 + s.upTo(8), Linger: time.Duration(1+s.upTo(20)) * ms,
		PendingItems: 1 + s.upTo(30), MaxWaiters: 1 + s.upTo(5), InFlight: 1 + s.upTo(3),
		Timeout: time.Duration(10+s.upTo(40)) * ms, Attempts: s.upTo(5), Backoff: time.Duration(1+s.upTo(30)) * ms,
		Observer: m.observe,
	}
	flags := s.next()
	if flags&1 != 0 {
		m.opt.SizeOf = func(it item) int { return it.size }
		m.opt.MaxBytes, m.opt.PendingBytes = 20+s.upTo(20), 20+s.upTo(100)
	}
	if flags&2 != 0 {
		m.opt.Reject = true
	}
	if flags&4 != 0 {
		m.opt.Linger = batch.Immediately
	}
	if flags&8 != 0 {
		m.opt.MaxAge = time.Duration(25+s.upTo(100)) * ms
	}
	if flags&16 != 0 {
		m.opt.Pace = time.Duration(1+s.upTo(10)) * ms
	}
	if flags&32 != 0 {
		m.opt.Retry = func(err error) bool { return !errors.Is(err, errPoison) }
	}
	kind := s.upTo(3)
	more := s.next()
	m.tries = max(1, m.opt.Attempts)
	if more&1 != 0 && m.opt.Attempts != 1 {
		m.opt.Split = func(err error) bool { return errors.Is(err, errPoison) }
		if m.opt.Attempts == 0 {
			m.tries = 4 * (1 + log2(m.opt.MaxItems))
		}
	}
	m.opt.Idempotent = more&2 != 0
	m.opt.HoldKeys = more&4 != 0 && kind == 2
	if more&16 != 0 && kind%2 == 0 { // callers are told by Do
		m.silent, m.opt.Observer = true, nil
	}
	if more&8 != 0 && kind >= 2 {
		m.opt.PendingPerKey = 1 + s.upTo(m.opt.PendingItems-1)
	}
	for range 16 {
		m.behave = append(m.behave, s.next())
	}
	m.build(kind)
}

// drain returns the lists in the error of Close.
func drain(err error) (undelivered, inDoubt []item, _ error) {
	var d *batch.DrainError[item]
	if errors.As(err, &d) {
		return d.Undelivered, d.InDoubt, err
	}
	return nil, nil, err
}

func (m *model) build(kind int) {
	switch kind {
	case 0:
		b, err := batch.New(m.opt, func(ctx context.Context, items []item) error {
			_, err := m.handle(ctx, items, false)
			return err
		})
		require.NoError(m.t, err)
		m.s = subject{b.Add, b.TryAdd, b.AddAll, nil, b.Flush, func(ctx context.Context) ([]item, []item, error) { return drain(b.Close(ctx)) }, nil, b.Stats, b.Audit, b.AtRest}
	case 1, 3:
		c, err := batch.NewCaller(m.opt, func(ctx context.Context, items []item) ([]batch.Result[int], error) {
			return m.handle(ctx, items, true)
		})
		if kind == 3 {
			m.keyed = true
			c, err = batch.NewKeyedCaller(m.opt, func(it item) int { return it.key }, func(ctx context.Context, key int, items []item) ([]batch.Result[int], error) {
				m.checkKey(key, items)
				return m.handle(ctx, items, true)
			})
		}
		require.NoError(m.t, err)
		submit := func(ctx context.Context, it item) error { _, err := c.Submit(ctx, it); return err }
		try := func(it item) error {
			ctx, cancel := context.WithCancel(m.t.Context())
			defer cancel()
			return submit(ctx, it)
		}
		all := func(ctx context.Context, its []item) (n int, err error) {
			for n < len(its) && err == nil {
				if err = submit(ctx, its[n]); err == nil {
					n++
				}
			}
			return n, err
		}
		m.s = subject{submit, try, all, c.Do, c.Flush, func(ctx context.Context) ([]item, []item, error) { return drain(c.Close(ctx)) }, nil, c.Stats, c.Audit, c.AtRest}
	case 2:
		m.keyed = true
		k, err := batch.NewKeyed(m.opt, func(ctx context.Context, key int, items []item) error {
			m.checkKey(key, items)
			_, err := m.handle(ctx, items, false)
			return err
		})
		require.NoError(m.t, err)
		add := func(ctx context.Context, it item) error { return k.Add(ctx, it.key, it) }
		try := func(it item) error { return k.TryAdd(it.key, it) }
		all := func(ctx context.Context, its []item) (int, error) { return k.AddAll(ctx, its[0].key, its) }
		m.s = subject{add, try, all, nil, k.Flush, func(ctx context.Context) (undelivered, inDoubt []item, err error) {
			var d *batch.DrainError[batch.Entry[int, item]]
			if err = k.Close(ctx); errors.As(err, &d) {
				for _, x := range d.Undelivered {
					m.checkKey(x.Key, []item{x.Item})
					undelivered = append(undelivered, x.Item)
				}
				for _, x := range d.InDoubt {
					m.checkKey(x.Key, []item{x.Item})
					inDoubt = append(inDoubt, x.Item)
				}
			}
			return undelivered, inDoubt, err
		}, k.Resume, k.Stats, k.Audit, k.AtRest}
	}
}

func (m *model) checkKey(key int, its []item) {
	for _, it := range its {
		if it.key != key {
			m.errorf("item %+v came under key %d", it, key)
		}
	}
}

func (m *model) audit() {
	m.t.Helper()
	if err := m.s.audit(); err != nil {
		m.errorf("%v\n%+v", err, m.opt)
	}
	s := m.s.stats()
	if s.Admitted != s.Delivered+s.Failed+s.Expired+s.Withdrawn+s.Returned+s.Pending {
		m.errorf("identity: %+v", s)
	}
}

func (m *model) make(producer, key, size int, ordered bool) item {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := item{id: len(m.truths), key: producer*2 + key%2, stream: producer, size: size % 21}
	if m.keyed {
		it.stream = it.key
	}
	if !ordered {
		it.stream = -1
	}
	m.truths = append(m.truths, &truth{item: it})
	return it
}

// items returns how many items there have been.
func (m *model) items() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.truths)
}

func (m *model) admit(its ...item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range its {
		m.truths[it.id].admitted = true
	}
}

func (m *model) outcome(what string, its ...item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range its {
		m.truths[it.id].outcomes = append(m.truths[it.id].outcomes, what)
	}
}

func (m *model) observe(its []item, err error) {
	switch {
	case err == nil:
		m.outcome("delivered", its...)
	case errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "never handed over"):
		m.outcome("expired", its...)
	default:
		m.outcome("failed", its...)
	}
	m.mu.Lock()
	for _, it := range its {
		if errors.Is(err, batch.ErrTimeout) {
			m.truths[it.id].late = true
		}
		if err != nil && m.opt.HoldKeys {
			m.held[it.key] = true
		}
		if m.opt.Split != nil && errors.Is(err, errPoison) && err.Error() != poisoned(it).Error() {
			m.errorf("item %+v has the error of another: %v", it, err)
		}
		if errors.Is(err, batch.ErrGivenUp) && m.truths[it.id].handed == 0 {
			m.errorf("item %+v was given up, and never refused", it)
		}
	}
	m.mu.Unlock()
	if err != nil && its[0].id%4 == 0 && m.items() < 2000 {
		m.putBack(its)
	}
	m.audit()
}

// putBack adds failed items again. The Observer has room for them and never waits.
func (m *model) putBack(its []item) {
	start := time.Now()
	for _, it := range its {
		m.mu.Lock()
		again := item{id: len(m.truths), key: it.key, stream: -1, size: it.size}
		m.truths = append(m.truths, &truth{item: again})
		m.mu.Unlock()
		if err := m.s.add(context.Background(), again); err == nil {
			m.admit(again)
		} else if !errors.Is(err, batch.ErrClosed) {
			m.errorf("the Observer cannot add %+v again: %v; %+v %+v", it, err, m.s.stats(), m.opt)
		}
	}
	if d := time.Since(start); d > 0 {
		m.errorf("the Observer waited for %v in Add", d)
	}
}

// resume resumes the keys that are known to be on hold.
func (m *model) resume() {
	m.mu.Lock()
	held := m.held
	m.held = map[int]bool{}
	m.mu.Unlock()
	if m.silent { // nobody knows which are on hold
		for key := range 2 * len(m.producers) {
			m.s.resume(key)
		}
	}
	for key := range held {
		if !m.s.resume(key) {
			m.errorf("key %d is not on hold", key)
		}
	}
}

func poisoned(it item) error { return fmt.Errorf("%w: %d", errPoison, it.id) }

func (m *model) step() {
	op, arg := m.script.next(), m.script.next()
	producer, wait := op>>4%3, time.Duration(arg%50)*time.Millisecond
	context := func() (context.Context, context.CancelFunc) {
		if arg%3 == 0 {
			return context.WithCancel(context.Background())
		}
		return context.WithTimeout(context.Background(), wait)
	}
	switch op % 16 {
	case 0, 1, 2, 3, 4:
		m.producers[producer] <- func() { m.add(producer, arg, context) }
	case 5:
		m.producers[producer] <- func() {
			it := m.make(producer, arg, arg, true)
			if m.s.try(it) == nil {
				m.admit(it)
			}
		}
	case 6, 7:
		m.producers[producer] <- func() {
			var its []item
			for i := range 1 + arg%100 {
				its = append(its, m.make(producer, arg, i, true))
			}
			ctx, cancel := context()
			defer cancel()
			n, err := m.s.all(ctx, its)
			if (err == nil) != (n == len(its)) {
				m.errorf("AddAll returned %d of %d and %v", n, len(its), err)
			}
			m.admit(its[:n]...)
		}
	case 8, 9, 10:
		if m.s.do == nil {
			m.producers[producer] <- func() { m.add(producer, arg, context) }
			return
		}
		m.wg.Go(func() {
			ctx, cancel := context()
			defer cancel()
			m.do(ctx, m.make(producer, arg, arg, false))
		})
	case 11:
		m.wg.Go(func() {
			ctx, cancel := context()
			defer cancel()
			m.flush(ctx)
		})
	case 12, 13, 14:
		time.Sleep(wait)
	case 15:
		if arg >= 16 { // seldom: nothing much happens after it
			if m.s.resume != nil && arg%2 == 0 {
				m.resume()
			}
			time.Sleep(wait / 4)
			return
		}
		m.wg.Go(func() {
			ctx, cancel := context()
			defer cancel()
			m.close(ctx)
		})
	}
}

func (m *model) add(producer, arg int, context func() (context.Context, context.CancelFunc)) {
	it := m.make(producer, arg, arg, true)
	ctx, cancel := context()
	defer cancel()
	err := m.s.add(ctx, it)
	switch {
	case err == nil:
		m.admit(it)
	case errors.Is(err, batch.ErrFull), errors.Is(err, batch.ErrClosed), errors.Is(err, ctx.Err()):
	default:
		m.errorf("Add: %v", err)
	}
}

func (m *model) do(ctx context.Context, it item) {
	v, err := m.s.do(ctx, it)
	switch {
	case err == nil:
		m.admit(it)
		if v != it.id*2 {
			m.errorf("Do(%d) returned %d", it.id, v)
		}
		m.mu.Lock()
		if m.truths[it.id].reported != 1 {
			m.errorf("Do(%d) returned a result that no handler gave", it.id)
		}
		m.mu.Unlock()
	case err == batch.ErrClosed, errors.Is(err, batch.ErrFull), err == ctx.Err():
	case m.opt.Split != nil && errors.Is(err, errPoison) && err.Error() != poisoned(it).Error():
		m.errorf("Do(%d) has the error of another: %v", it.id, err)
	case strings.Contains(err.Error(), "withdrawn"):
		m.admit(it)
		m.outcome("withdrawn", it)
	default:
		m.admit(it)
		if !strings.Contains(err.Error(), "stopped waiting") {
			m.mu.Lock()
			m.truths[it.id].told = err
			m.mu.Unlock()
		}
	}
}

func (m *model) flush(ctx context.Context) {
	m.mu.Lock()
	var before []*truth
	for _, tr := range m.truths {
		if tr.admitted {
			before = append(before, tr)
		}
	}
	m.mu.Unlock()
	err := m.s.flush(ctx)
	if err != nil && (m.opt.HoldKeys || !strings.Contains(err.Error(), "since the last Flush")) {
		return
	}
	time.Sleep(time.Nanosecond) // a Close beside it may have taken the items, and not told the model yet
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tr := range before {
		if m.silent {
			if tr.active && len(tr.outcomes) == 0 {
				m.errorf("Flush returned %v, and item %+v is in the handler's hands; %+v", err, tr, m.opt)
			}
			continue
		}
		if len(tr.outcomes) != 1 {
			m.errorf("Flush returned %v, and item %+v has no outcome; %+v", err, tr, m.opt)
		}
	}
}

func (m *model) close(ctx context.Context) {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	undelivered, inDoubt, err := m.s.close(ctx)
	m.outcome("undelivered", undelivered...)
	m.outcome("in doubt", inDoubt...)
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
	case m.opt.HoldKeys && strings.Contains(err.Error(), "Close found keys on hold") && len(inDoubt) == 0:
	case m.silent && strings.Contains(err.Error(), " since the batcher was made"):
	default:
		m.errorf("Close: %v", err)
	}
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
}

var errPoison = errors.New("poison")

// handle is the handler of every subject: it checks the items it is given, then behaves as the
// script says.
func (m *model) handle(ctx context.Context, its []item, answers bool) ([]batch.Result[int], error) {
	behaviour := m.enter(its)
	m.audit()
	failed, after, err := m.act(ctx, behaviour, its)
	late := ctx.Err() != nil || behaviour%12 == 5 || behaviour%12 == 7
	results := make([]batch.Result[int], len(its))
	for i, it := range its {
		results[i].Value = it.id * 2
	}
	if answers && behaviour%12 == 3 { // per item, not with Failed
		for _, i := range failed {
			results[i].Err = errors.New("failed")
		}
		err = nil
	} else if len(failed) > 0 {
		err = &batch.Failure{Err: errors.New("some failed"), Items: items(failed)}
	}
	if answers && behaviour%12 == 8 && len(its) > 1 {
		results, err, failed = results[1:], nil, nil
		m.leave(its, nil, errPoison, late)
	} else {
		m.leave(its, failed, err, late)
	}
	if behaviour&64 != 0 { // the slice is the handler's
		clear(its)
	}
	if after != nil {
		after()
	}
	return results, err
}

func (m *model) enter(its []item) (behaviour int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	behaviour = m.behave[m.calls%len(m.behave)]
	m.calls++
	m.active++
	bytes := 0
	if m.active > m.opt.InFlight {
		m.errorf("%d calls in flight, limit %d", m.active, m.opt.InFlight)
	}
	if now := time.Now(); m.opt.Pace > 0 && now.Sub(m.start) < m.opt.Pace {
		m.errorf("calls %v apart, pace %v", now.Sub(m.start), m.opt.Pace)
	} else {
		m.start = now
	}
	if m.keyed {
		if m.keys[its[0].key] {
			m.errorf("two calls for key %d", its[0].key)
		}
		m.keys[its[0].key] = true
	}
	for i, it := range its {
		tr := m.truths[it.id]
		begun := tr.handed == 0 && slices.Equal(tr.outcomes, []string{"in doubt"}) // Close gave up between the start of the call and this line
		if tr.active || tr.reported > 0 || len(tr.outcomes) > 0 && !begun {
			m.errorf("handed over again: %+v", tr)
		}
		if tr.handed >= m.tries {
			m.errorf("handed over more than %d times: %+v", m.tries, tr)
		}
		if tr.unknown && !m.opt.Idempotent {
			m.errorf("handed over again, and nobody knows what became of it: %+v", tr)
		}
		if now := time.Now(); now.Before(tr.after) || now.Before(m.paused) && now.After(m.since) {
			m.errorf("handed over before the downstream wants it: %+v", tr)
		}
		if m.held[it.key] && tr.handed == 0 && m.opt.HoldKeys {
			m.errorf("handed over although its key is on hold: %+v", tr)
		}
		bytes += it.size
		m.checkOrder(its, i)
		tr.active = true
		tr.handed++
	}
	if len(its) == 0 || len(its) > m.opt.MaxItems || m.opt.SizeOf != nil && bytes > m.opt.MaxBytes {
		m.errorf("a batch of %d items, %d bytes", len(its), bytes)
	}
	return behaviour
}

// checkOrder: an item comes after all of its stream that were added before it.
func (m *model) checkOrder(its []item, i int) {
	it := its[i]
	if it.stream < 0 || m.truths[it.id].handed > 0 || !m.keyed && m.opt.InFlight > 1 {
		return
	}
	if last, ok := m.first[it.stream]; ok && last >= it.id {
		m.errorf("item %d came after %d of its stream", it.id, last)
	}
	m.first[it.stream] = it.id
	if m.silent { // nobody knows which wait
		return
	}
	for _, tr := range m.truths[:it.id] {
		before := slices.ContainsFunc(its[:i], func(o item) bool { return o.id == tr.id })
		if tr.stream == it.stream && tr.handed > 0 && len(tr.outcomes) == 0 && !before {
			m.errorf("item %d overtook %d, which waits for another attempt", it.id, tr.id)
		}
	}
}

func (m *model) leave(its []item, failed []int, err error, late bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active--
	m.keys[its[0].key] = false
	for i, it := range its {
		tr := m.truths[it.id]
		tr.active = false
		if err == nil && !slices.Contains(failed, i) || len(failed) > 0 && !slices.Contains(failed, i) {
			tr.reported++
			continue
		}
		tr.unknown = late
		var f *batch.Failure
		if errors.As(err, &f) {
			tr.after = time.Now().Add(f.RetryAfter)
		}
	}
	var f *batch.Failure
	if until := time.Now(); errors.As(err, &f) && f.PauseAll {
		if until = until.Add(f.RetryAfter); until.After(m.paused) {
			m.paused, m.since = until, time.Now()
		}
	}
}

// act waits as the script says and returns what failed.
func (m *model) act(ctx context.Context, behaviour int, its []item) (failed []int, after func(), err error) {
	d := time.Duration(behaviour>>4) * time.Millisecond
	switch behaviour % 12 {
	case 0, 1:
		time.Sleep(d)
	case 2:
		time.Sleep(d)
		err = errors.New("down")
	case 3, 4:
		time.Sleep(d)
		for i := range its {
			if (its[i].id+behaviour>>4)%3 == 0 {
				failed = append(failed, i)
			}
		}
	case 5:
		time.Sleep(d)
		err, after = errors.New("panics"), func() { panic("the handler's") }
	case 6: // ignores its context
		time.Sleep(m.opt.Timeout * time.Duration(1+behaviour>>5))
	case 7:
		<-ctx.Done()
		err = ctx.Err()
	case 9:
		for _, it := range its {
			if it.id%7 == 3 {
				err = poisoned(it)
				break
			}
		}
	case 10: // calls back, but not without end
		if m.items() > 2000 {
			break
		}
		it := m.make(0, behaviour, behaviour, false)
		start := time.Now()
		if m.s.add(ctx, it) == nil {
			m.admit(it)
		}
		if m.s.flush(ctx) == nil {
			m.errorf("Flush returned nil from inside the handler")
		}
		if m.s.do != nil {
			if _, err := m.s.do(ctx, it); err == nil || !strings.Contains(err.Error(), "inside the handler") {
				m.errorf("Do from inside the handler: %v", err)
			}
		}
		if d := time.Since(start); d > 0 {
			m.errorf("the handler waited for itself for %v", d)
		}
	case 11:
		time.Sleep(d)
		err = &batch.Failure{Err: errors.New("busy"), RetryAfter: time.Duration(behaviour>>3) * time.Millisecond, PauseAll: behaviour&128 != 0}
	}
	return failed, after, err
}

// finish waits until everything has ended, and compares.
func (m *model) finish() {
	for _, p := range m.producers {
		close(p)
	}
	m.wg.Wait()
	m.mu.Lock()
	m.ending = true
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := m.s.flush(ctx); err != nil && !m.opt.HoldKeys && !strings.Contains(err.Error(), "since the last Flush") {
		m.errorf("Flush at the end: %v", err)
	}
	time.Sleep(time.Hour) // the handlers that stayed behind
	if s := m.s.stats(); m.silent && m.logged() != s.Failed+s.Expired {
		m.errorf("%d items were logged, and nothing more is said: %+v", m.logged(), s)
	}
	ctx, cancel = context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	m.close(ctx)
	if err := m.s.atRest(); err != nil {
		m.errorf("%v", err)
	}
	m.compare()
}

func (m *model) compare() {
	counts := map[string]int64{}
	for _, tr := range m.truths {
		if m.silent && tr.admitted && len(tr.outcomes) == 0 {
			tr.outcomes = []string{tr.inferred()}
		}
		for _, o := range tr.outcomes {
			counts[o]++
		}
		if err := tr.fault(); err != "" {
			m.errorf("item %+v: %s", tr, err)
		}
	}
	s := m.s.stats()
	got := map[string]int64{"delivered": s.Delivered, "failed": s.Failed, "expired": s.Expired, "withdrawn": s.Withdrawn, "returned": s.Returned}
	counts["returned"] = counts["undelivered"] + counts["in doubt"]
	for what, n := range got {
		if counts[what] != n {
			m.errorf("%d %s, Stats say %d", counts[what], what, n)
		}
	}
	if m.silent {
		m.compareLog(counts["failed"], counts["expired"])
	}
}

// inferred is the outcome of an item that nobody was told of.
func (tr *truth) inferred() string {
	switch {
	case tr.reported > 0:
		return "delivered"
	case tr.handed > 0:
		return "failed"
	}
	return "expired"
}

// logged returns how many items the log was told of.
func (m *model) logged() (items int64) {
	for _, l := range m.lines {
		items += l.items
	}
	return items
}

// compareLog: without an Observer each item that was not delivered is in one line of the log, and
// Close counts all of them.
func (m *model) compareLog(failed, expired int64) {
	var last int64
	for _, l := range m.lines {
		if l.items <= 0 {
			m.errorf("a line of %d items", l.items)
		}
		last = l.expired
	}
	logged := m.logged()
	if logged != failed+expired || last != expired {
		m.errorf("%d failed and %d expired; %d were logged, %d of them expired", failed, expired, logged, last)
	}
	_, _, err := m.s.close(context.Background())
	want := plural(failed, "item") + " failed"
	if expired > 0 {
		want += " and " + plural(expired, "item") + " expired before the handler was free"
	}
	switch {
	case failed+expired == 0 && err != nil:
		m.errorf("nothing failed, and Close: %v", err)
	case failed+expired > 0 && (err == nil || !strings.HasPrefix(err.Error(), "batch: "+want+" since the batcher was made")):
		m.errorf("%s; Close: %v", want, err)
	}
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (tr *truth) fault() string {
	if !tr.admitted {
		if tr.handed > 0 || len(tr.outcomes) > 0 {
			return "not admitted, and has an outcome"
		}
		return ""
	}
	if len(tr.outcomes) != 1 {
		return fmt.Sprintf("admitted, and has %d outcomes", len(tr.outcomes))
	}
	switch o := tr.outcomes[0]; {
	case tr.told != nil && o == "delivered":
		return "delivered, and its caller was told an error"
	case o == "delivered" && tr.reported != 1:
		return "delivered, and no handler said so"
	case o == "failed" && tr.reported > 0 && !tr.late:
		return "failed, and a handler delivered it"
	case (o == "undelivered" || o == "expired" || o == "withdrawn") && tr.handed > 0:
		return o + ", and was handed over"
	case tr.told != nil && o == "failed" && errors.Is(tr.told, batch.ErrGivenUp) && tr.reported > 0:
		return "given up, and a handler delivered it"
	case o == "in doubt" && tr.handed == 0:
		return "in doubt, and never handed over"
	}
	return ""
}

func randomScript(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	data := make([]byte, 40+r.IntN(180))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func FuzzModel(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomScript(seed))
	}
	f.Fuzz(runModel)
}

// The same with fixed random scripts, so that every run of the tests has them.
func TestModel(t *testing.T) {
	for seed := range uint64(testgate.Count(150, 400, 400)) {
		data := randomScript(1000 + seed)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, data) })
		if t.Failed() {
			return
		}
	}
}
