package batch_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

var update = flag.Bool("update", false, "write testdata/failures.txt anew")

// TestFailureTexts prints every error, panic and log line of the package into one file, to be read
// in one place.
func TestFailureTexts(t *testing.T) {
	var out strings.Builder
	say := func(when string, what any) {
		text := fmt.Sprint(what)
		if i := strings.Index(text, "\n\ngoroutine "); i >= 0 {
			text = text[:i] + "\n\n(the stack)"
		}
		fmt.Fprintf(&out, "%s\n    %s\n", when, strings.ReplaceAll(text, "\n", "\n    "))
	}
	section := func(title string, f func(t *testing.T)) {
		fmt.Fprintf(&out, "\n== %s\n", title)
		synctest.Test(t, f)
	}
	nothing := func(context.Context, []int) error { return nil }

	section("Constructors", func(t *testing.T) {
		sized := func(int) int { return 1 }
		for _, opt := range []batch.Options[int]{
			{MaxItems: -1}, {PendingItems: math.MaxInt}, {MaxBytes: 10}, {Linger: time.Second, MaxAge: time.Second}, {PendingPerKey: 1},
			{HoldKeys: true}, {Attempts: 1, Split: isInvalid}, {Timeout: -1}, {PendingBytes: -1, SizeOf: sized},
		} {
			_, err := batch.New(opt, nothing)
			require.Error(t, err)
			say("New", err)
		}
		say("New(opt, nil)", panics(func() { _, _ = batch.New[int](batch.Options[int]{}, nil) }))
		say("NewKeyedCaller(opt, nil, handler)", panics(func() {
			_, _ = batch.NewKeyedCaller(batch.Options[int]{}, nil, func(context.Context, int, []int) ([]batch.Result[int], error) { return nil, nil })
		}))
	})

	section("No constructor, or no context", func(t *testing.T) {
		ctx := t.Context()
		var none context.Context
		b := start(t, batch.Options[int]{}, nothing)
		var calls []any
		for _, f := range []func(){
			func() { _ = new(batch.Batcher[int]).Add(ctx, 1) },
			func() { _ = new(batch.Batcher[int]).TryAdd(1) },
			func() { _, _ = new(batch.Batcher[int]).AddAll(ctx, []int{1}) },
			func() { _ = new(batch.Batcher[int]).Flush(ctx) },
			func() { _ = new(batch.Batcher[int]).Close(ctx) },
			func() { _ = new(batch.Keyed[int, int]).Add(ctx, 1, 1) },
			func() { _, _ = new(batch.Caller[int, int]).Do(ctx, 1) },
			func() { _ = new(batch.Caller[int, int]).DoAll(ctx, []int{1}) },
		} {
			calls = append(calls, panics(f))
		}
		say("Add to a zero Batcher", calls[0])
		for _, p := range calls {
			require.Equal(t, calls[0], p)
		}
		say("Add without a context", panics(func() { _ = b.Add(none, 1) }))
		require.Equal(t, panics(func() { _ = b.Flush(none) }), panics(func() { _ = b.Add(none, 1) }))
		require.NoError(t, b.Close(ctx))
	})

	section("Add, and what waits", func(t *testing.T) {
		hold := make(chan struct{})
		var inside []error
		var b *batch.Batcher[int]
		b = start(t, batch.Options[int]{MaxItems: 1, PendingItems: 1, MaxWaiters: 1, SizeOf: func(v int) int { return v }, MaxBytes: 100, Observer: func([]int, error) {
			inside = append(inside, b.Flush(context.Background()))
		}}, func(ctx context.Context, _ []int) error {
			inside = append(inside, b.Add(ctx, 1))
			<-hold
			return nil
		})
		say("Add of an item that never fits", b.Add(t.Context(), 1000))
		say("Add of an item with a negative size", b.Add(t.Context(), -1))
		addAll(t, b, 1)
		synctest.Wait()
		say("TryAdd to a full batcher", b.TryAdd(1))
		go func() { _ = b.Add(t.Context(), 1) }()
		synctest.Wait()
		say("Add beside MaxWaiters callers", b.Add(t.Context(), 1))
		close(hold)
		finish(t, b)
		say("Add inside the handler, full", inside[0])
		say("Flush inside the Observer", inside[1])
		say("Add after Close", b.Add(t.Context(), 1))
		k, err := batch.NewKeyed(batch.Options[float64]{PendingItems: 2, Linger: time.Minute}, func(context.Context, float64, []float64) error { return nil })
		require.NoError(t, err)
		say("Add under NaN", k.Add(t.Context(), math.NaN(), 1))
		finish(t, k)
	})

	section("Keys", func(t *testing.T) {
		hold := make(chan struct{})
		k, err := batch.NewKeyed(batch.Options[int]{PendingItems: 2, HoldKeys: true, Linger: batch.Immediately, Observer: func([]int, error) {}}, func(context.Context, int, []int) error {
			<-hold
			return errDown
		})
		require.NoError(t, err)
		require.NoError(t, k.Add(t.Context(), 1, 1))
		synctest.Wait()
		say("TryAdd to a key that has used up its share", k.TryAdd(1, 1))
		close(hold)
		pass(time.Second)
		require.NoError(t, k.Add(t.Context(), 1, 2))
		say("Flush, an item failed", k.Flush(t.Context()))
		say("Flush, a key is on hold", k.Flush(t.Context()))
		require.NoError(t, k.Add(t.Context(), 2, 2))
		pass(time.Second)
		say("Add, too many keys are on hold", k.Add(t.Context(), 3, 3))
		say("Close, keys are on hold", k.Close(t.Context()))
	})

	section("Without an Observer", func(t *testing.T) {
		log := logged(t)
		hold := make(chan struct{})
		b := start(t, batch.Options[int]{MaxItems: 1, PendingItems: 3, MaxAge: time.Second}, func(context.Context, []int) error { <-hold; return errDown })
		addAll(t, b, 1, 2, 3)
		pass(time.Minute)
		close(hold)
		say("Flush", b.Flush(t.Context()))
		say("Close", b.Close(t.Context()))
		say("the log", strings.TrimSpace(log.String()))
	})

	section("What an item fails with", func(t *testing.T) {
		for _, c := range []struct {
			when    string
			opt     batch.Options[int]
			handler func(context.Context, []int) ([]batch.Result[int], error)
		}{
			{"its batch panics", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { panic("oops") }},
			{"its batch panics with an error", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { panic(errDown) }},
			{"its batch times out", batch.Options[int]{}, func(ctx context.Context, _ []int) ([]batch.Result[int], error) { <-ctx.Done(); return nil, ctx.Err() }},
			{"its batch ignores the timeout", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { time.Sleep(time.Hour); return nil, nil }},
			{"too few results", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { return nil, nil }},
			{"a Failure with too few results", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) {
				return make([]batch.Result[int], 3), failed(errDown, 2)
			}},
			{"a Failure with an index out of range", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { return nil, failed(errDown, 9) }},
			{"an empty Failure", batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { return nil, &batch.Failure{} }},
			{"given up", batch.Options[int]{MaxItems: 8, Split: isInvalid, Attempts: 2}, func(context.Context, []int) ([]batch.Result[int], error) { return nil, errInvalid }},
		} {
			caller, err := batch.NewCaller(c.opt, c.handler)
			require.NoError(t, err)
			say(c.when, caller.DoAll(t.Context(), ints(8))[1].Err)
			_ = caller.Close(t.Context())
		}
		say("Failure.Error, of several items", failed(errDown, 4, 2))
	})

	section("Close in the middle", func(t *testing.T) {
		hold := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 1, PendingItems: 9, MaxAge: time.Minute}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
			<-hold
			return doubled(items), nil
		})
		require.NoError(t, err)
		var tickets []batch.Ticket[int]
		for i := range 3 {
			ticket, err := c.Submit(t.Context(), i)
			require.NoError(t, err)
			tickets = append(tickets, ticket)
		}
		synctest.Wait()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		go func() {
			_, err := c.Do(t.Context(), 4)
			say("Do, of an item that Close gave back", err)
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		_, err = c.Do(ctx, 5)
		say("Do, whose context ended before the item was handed over", err)
		err = c.Close(ended)
		synctest.Wait()
		say("Close, whose context ended", err)
		_, err = tickets[0].Wait(t.Context())
		say("Wait, of an item in the handler's hands", err)
		close(hold)
		finish(t, c)
		say("Wait of the zero Ticket", panics(func() { _, _ = batch.Ticket[int]{}.Wait(t.Context()) }))
	})

	section("Age, and contexts", func(t *testing.T) {
		hold := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 1, PendingItems: 9, MaxAge: time.Second}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
			<-hold
			return doubled(items), nil
		})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		_, err = c.Do(ctx, 5)
		say("Do, whose context ended while the item was in the handler's hands", err)
		_, err = c.Do(t.Context(), 5)
		say("Do, of an item that expired", err)
		close(hold)
		finish(t, c)
	})

	got := strings.TrimLeft(out.String(), "\n")
	const golden = "testdata/failures.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "to rewrite the file, run go test -run FailureTexts -update ./batch")
	require.NotRegexp(t, regexp.MustCompile(`0x[0-9a-f]{6}`), got)
}

// panics returns what f panics with.
func panics(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return errors.New("no panic")
}
