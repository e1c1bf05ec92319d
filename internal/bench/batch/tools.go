package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/destel/rill"
	"github.com/graph-gophers/dataloader/v7"
	"github.com/vikstrous/dataloadgen"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/api/support/bundler"

	"github.com/leaksafe/leaksafe/batch"
)

type msg struct {
	body []byte
	span sdk.ReadOnlySpan // what OpenTelemetry's processor takes
}

func newMsg(size int) *msg { return &msg{body: make([]byte, size)} }

// asSpan wraps m for OpenTelemetry, once.
func (m *msg) asSpan() sdk.ReadOnlySpan {
	if m.span == nil {
		m.span = tracetest.SpanStub{Name: string(m.body), SpanContext: sampled}.Snapshot()
	}
	return m.span
}

var sampled = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})

// A downstream takes delay for a batch, and remembers how it was used.
type downstream struct {
	delay              time.Duration
	delivered          atomic.Int64
	active, mostAtOnce atomic.Int64
}

func (d *downstream) send(n int) {
	for at := d.active.Add(1); ; {
		if most := d.mostAtOnce.Load(); at <= most || d.mostAtOnce.CompareAndSwap(most, at) {
			break
		}
	}
	if d.delay > 0 {
		time.Sleep(d.delay)
	}
	d.active.Add(-1)
	d.delivered.Add(int64(n))
}

const (
	linger   = 100 * time.Millisecond
	inFlight = 4
)

// A tool gathers messages in batches of 500 in front of a downstream that
// takes 4 at once. add may be called by many; end drains.
type tool struct {
	name      string
	open      func(d *downstream) (add func([]*msg), end func())
	burstOnly bool
	makesOwn  bool // messages, each in its own goroutine
}

var tools = []tool{
	{name: "floor: mutex and append", open: floor},
	{name: "channel and ticker", open: byHand},
	{name: "bundler", open: bundled},
	{name: "rill", open: rilled},
	{name: "OpenTelemetry, blocking", open: func(d *downstream) (func([]*msg), func()) { return otel(d, sdk.WithBlocking()) }},
	{name: "OpenTelemetry", burstOnly: true, open: func(d *downstream) (func([]*msg), func()) { return otel(d) }},
	{name: "leaksafe Add", open: func(d *downstream) (func([]*msg), func()) { return adding(safe(d, nil)) }},
	{name: "leaksafe AddAll(64)", open: func(d *downstream) (func([]*msg), func()) { return addingAll(safe(d, nil)) }},
	{name: "leaksafe Add, bytes too", open: func(d *downstream) (func([]*msg), func()) { return adding(safe(d, size)) }},
	{name: "leaksafe AddAll(64), bytes too", open: func(d *downstream) (func([]*msg), func()) { return addingAll(safe(d, size)) }},
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func size(m *msg) int { return len(m.body) }

// safe is bounded in items, and in bytes if sizeOf is set.
func safe(d *downstream, sizeOf func(*msg) int) *batch.Batcher[*msg] {
	opt := batch.Options[*msg]{MaxItems: full, Linger: linger, InFlight: inFlight}
	if sizeOf != nil {
		opt.SizeOf, opt.PendingBytes = sizeOf, 5<<20
	}
	b, err := batch.New(opt, func(_ context.Context, ms []*msg) error {
		d.send(len(ms))
		return nil
	})
	check(err)
	return b
}

func adding(b *batch.Batcher[*msg]) (func([]*msg), func()) {
	return func(ms []*msg) {
		for _, m := range ms {
			check(b.Add(context.Background(), m))
		}
	}, func() { check(b.Close(context.Background())) }
}

func addingAll(b *batch.Batcher[*msg]) (func([]*msg), func()) {
	return func(ms []*msg) {
		_, err := b.AddAll(context.Background(), ms)
		check(err)
	}, func() { check(b.Close(context.Background())) }
}

// floor is the minimum: no timer and no bound, and the producer sends.
func floor(d *downstream) (func([]*msg), func()) {
	var mu sync.Mutex
	items := make([]*msg, 0, full)
	add := func(m *msg) {
		mu.Lock()
		items = append(items, m)
		var batch []*msg
		if len(items) == full {
			batch, items = items, make([]*msg, 0, full)
		}
		mu.Unlock()
		if batch != nil {
			d.send(len(batch))
		}
	}
	return func(ms []*msg) {
		for _, m := range ms {
			add(m)
		}
	}, func() { d.send(len(items)) }
}

// byHand is the most common hand-written code.
func byHand(d *downstream) (func([]*msg), func()) {
	queue := make(chan *msg, 2*full)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		slots := make(chan struct{}, inFlight)
		tick := time.NewTicker(linger)
		defer tick.Stop()
		items := make([]*msg, 0, full)
		send := func() {
			if len(items) == 0 {
				return
			}
			n := len(items)
			items = make([]*msg, 0, full)
			slots <- struct{}{}
			wg.Go(func() { d.send(n); <-slots })
		}
		for {
			select {
			case m, ok := <-queue:
				if !ok {
					send()
					wg.Wait()
					return
				}
				if items = append(items, m); len(items) == full {
					send()
				}
			case <-tick.C:
				send()
			}
		}
	}()
	return func(ms []*msg) {
		for _, m := range ms {
			queue <- m
		}
	}, func() { close(queue); <-done }
}

func bundled(d *downstream) (func([]*msg), func()) {
	b := bundler.NewBundler((*msg)(nil), func(items any) { d.send(len(items.([]*msg))) })
	b.BundleCountThreshold, b.DelayThreshold, b.HandlerLimit = full, linger, inFlight
	b.BundleByteThreshold = 4 << 20
	return func(ms []*msg) {
		for _, m := range ms {
			check(b.Add(m, len(m.body)))
		}
	}, b.Flush
}

func rilled(d *downstream) (func([]*msg), func()) {
	in := make(chan rill.Try[*msg], 2*full)
	done := make(chan error)
	go func() {
		done <- rill.ForEach(rill.Batch(in, full, linger), inFlight, func(ms []*msg) error {
			d.send(len(ms))
			return nil
		})
	}()
	return func(ms []*msg) {
		for _, m := range ms {
			in <- rill.Wrap(m, nil)
		}
	}, func() { close(in); check(<-done) }
}

type exporter struct{ d *downstream }

func (e exporter) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	e.d.send(len(spans))
	return nil
}
func (exporter) Shutdown(context.Context) error { return nil }

// otel sends one batch at a time: the processor has no more in flight.
func otel(d *downstream, more ...sdk.BatchSpanProcessorOption) (func([]*msg), func()) {
	p := sdk.NewBatchSpanProcessor(exporter{d}, append(more, sdk.WithMaxExportBatchSize(full), sdk.WithBatchTimeout(linger))...)
	return func(ms []*msg) {
		for _, m := range ms {
			p.OnEnd(m.asSpan())
		}
	}, func() { check(p.Shutdown(context.Background())) }
}

// An asker gets a result for each item: ask has 500 of them looked up.
type asker struct {
	name string
	open func() (ask func(), end func())
}

var askers = []asker{
	{"dataloadgen, a loader a batch", func() (func(), func()) {
		return func() {
			l := dataloadgen.NewLoader(func(_ context.Context, keys []int) ([]int, []error) { return keys, nil },
				dataloadgen.WithBatchCapacity(full), dataloadgen.WithWait(linger))
			thunks := make([]func() (int, error), full)
			for i := range thunks {
				thunks[i] = l.LoadThunk(context.Background(), i)
			}
			for i, thunk := range thunks {
				v, err := thunk()
				expect(i, v, err)
			}
		}, func() {}
	}},
	{"graph-gophers/dataloader, no cache", func() (func(), func()) {
		l := dataloader.NewBatchedLoader(func(_ context.Context, keys []int) []*dataloader.Result[int] {
			rs := make([]*dataloader.Result[int], len(keys))
			for i, k := range keys {
				rs[i] = &dataloader.Result[int]{Data: k}
			}
			return rs
		}, dataloader.WithBatchCapacity[int, int](full), dataloader.WithWait[int, int](linger),
			dataloader.WithCache[int, int](&dataloader.NoCache[int, int]{}))
		return func() {
			thunks := make([]dataloader.Thunk[int], full)
			for i := range thunks {
				thunks[i] = l.Load(context.Background(), i)
			}
			for i, thunk := range thunks {
				v, err := thunk()
				expect(i, v, err)
			}
		}, func() {}
	}},
	{"leaksafe Submit and Wait", func() (func(), func()) {
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: full, Linger: linger, InFlight: inFlight, PendingItems: 16 * full}, echo)
		check(err)
		return func() {
			tickets := make([]batch.Ticket[int], full)
			for i := range tickets {
				ticket, err := c.Submit(context.Background(), i)
				check(err)
				tickets[i] = ticket
			}
			for i, ticket := range tickets {
				v, err := ticket.Wait(context.Background())
				expect(i, v, err)
			}
		}, func() { check(c.Close(context.Background())) }
	}},
}

// A loner asks for one result, which nothing shares a batch with.
var loners = []asker{
	{"by hand: a goroutine, a deadline, a timer", func() (func(), func()) {
		handle := func(_ context.Context, keys []int) []int { return keys }
		return func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			result, late := make(chan int, 1), make(chan struct{})
			timer := time.AfterFunc(66*time.Second, func() { close(late) }) // the handler may not heed ctx
			go func() { result <- handle(ctx, []int{1})[0] }()
			select {
			case v := <-result:
				expect(1, v, nil)
			case <-late:
				panic("late")
			}
			timer.Stop()
			cancel()
		}, func() {}
	}},
	{"leaksafe Do", func() (func(), func()) {
		c, err := batch.NewCaller(batch.Options[int]{}, echo)
		check(err)
		return func() {
			v, err := c.Do(context.Background(), 1)
			expect(1, v, err)
		}, func() { check(c.Close(context.Background())) }
	}},
}

// echo answers each key with itself.
func echo(_ context.Context, keys []int) ([]batch.Result[int], error) {
	rs := make([]batch.Result[int], len(keys))
	for i, k := range keys {
		rs[i].Value = k
	}
	return rs, nil
}

func expect(want, got int, err error) {
	if err != nil || got != want {
		panic("wrong result")
	}
}
