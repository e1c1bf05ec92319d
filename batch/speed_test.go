package batch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/batch"
)

func speedy(b *testing.B) *batch.Batcher[*message] {
	x, err := batch.New(batch.Options[*message]{InFlight: 4, PendingBytes: 5 << 20, SizeOf: func(m *message) int { return len(m.payload) }},
		func(context.Context, []*message) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return x
}

func BenchmarkAdd(b *testing.B) {
	x, m := speedy(b), &message{}
	for b.Loop() {
		_ = x.Add(context.Background(), m)
	}
	_ = x.Close(context.Background())
}

func BenchmarkAddAll64(b *testing.B) {
	x := speedy(b)
	ms := make([]*message, 64)
	for i := range ms {
		ms[i] = &message{}
	}
	for i := 0; i < b.N; i += 64 {
		_, _ = x.AddAll(context.Background(), ms)
	}
	_ = x.Close(context.Background())
}

// Callers that call Do in a loop, and a handler that takes a millisecond: how full are the batches?
// It reports items per call, of 500 at most.
func BenchmarkDoUnderLoad(b *testing.B) {
	for _, callers := range []int{10, 500, 2000} {
		b.Run(fmt.Sprint(callers, " callers"), func(b *testing.B) {
			c, err := batch.NewCaller(batch.Options[int]{PendingItems: 10_000, MaxWaiters: 10_000}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
				time.Sleep(time.Millisecond)
				return make([]batch.Result[int], len(items)), nil
			})
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range b.N/callers + 1 {
						_, _ = c.Do(context.Background(), 1)
					}
				})
			}
			wg.Wait()
			s := c.Stats()
			b.ReportMetric(float64(s.Delivered)/float64(s.Calls), "items/call")
			_ = c.Close(context.Background())
		})
	}
}
