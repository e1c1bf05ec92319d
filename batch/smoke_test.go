package batch_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

func TestSmoke(t *testing.T) {
	n := 0
	b, err := batch.New(batch.Options[int]{MaxItems: 10, Linger: time.Millisecond}, func(ctx context.Context, items []int) error {
		n += len(items)
		return nil
	})
	require.NoError(t, err)
	for i := range 1005 {
		require.NoError(t, b.Add(t.Context(), i))
	}
	require.NoError(t, b.Flush(t.Context()))
	require.Equal(t, 1005, n)
	require.NoError(t, b.Close(t.Context()))
	require.NoError(t, b.AtRest())
	t.Logf("%+v", b.Stats())
}

func BenchmarkAdd(b *testing.B) {
	x, _ := batch.New(batch.Options[int]{MaxItems: 500, InFlight: 4}, func(ctx context.Context, items []int) error { return nil })
	b.ReportAllocs()
	for b.Loop() {
		_ = x.Add(context.Background(), 1)
	}
	x.Close(context.Background())
}

func BenchmarkAddAll(b *testing.B) {
	x, _ := batch.New(batch.Options[int]{MaxItems: 500, InFlight: 4}, func(ctx context.Context, items []int) error { return nil })
	b.ReportAllocs()
	vs := make([]int, 64)
	for i := 0; i < b.N; i += 64 {
		_, _ = x.AddAll(context.Background(), vs)
	}
	x.Close(context.Background())
}

func BenchmarkSubmit(b *testing.B) {
	x, _ := batch.NewResult(batch.Options[int]{MaxItems: 500, InFlight: 4}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
		return make([]batch.Result[int], len(items)), nil
	})
	b.ReportAllocs()
	ctx := context.Background()
	var ts []batch.Ticket[int]
	for i := 0; i < b.N; i++ {
		t, _ := x.Submit(ctx, i)
		ts = append(ts, t)
		if len(ts) == 500 {
			for _, t := range ts {
				t.Wait(ctx)
			}
			ts = ts[:0]
		}
	}
	x.Close(context.Background())
}
