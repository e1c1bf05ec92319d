package batch_test

import (
	"context"
	"testing"

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
