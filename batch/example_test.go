package batch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/batch"
)

// Rows are inserted 500 at a time. What could not be inserted is reported, and
// Close waits for the last insert.
func ExampleBatcher() {
	type row struct {
		ID   int
		Name string
	}
	insert := func(_ context.Context, rows []row) error {
		fmt.Println("INSERT of", len(rows), "rows")
		return nil // db.ExecContext(ctx, …)
	}
	rows, err := batch.New(batch.Options[row]{
		MaxItems: 500,
		Linger:   time.Second,
		Timeout:  10 * time.Second,
		Observer: func(rows []row, err error) {
			if err != nil {
				fmt.Println("not inserted:", len(rows), err)
			}
		},
	}, insert)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 1200 {
		if err := rows.Add(context.Background(), row{ID: i}); err != nil {
			fmt.Println(err)
		}
	}
	if err := rows.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// INSERT of 500 rows
	// INSERT of 500 rows
	// INSERT of 200 rows
}

// A push provider takes many messages a call and answers for each of them.
// Every sender waits for the answer to its own.
func ExampleCaller() {
	errUnregistered := errors.New("unregistered")
	sender, err := batch.NewCaller(batch.Options[string]{Linger: time.Millisecond, Timeout: 10 * time.Second},
		func(_ context.Context, tokens []string) ([]batch.Result[string], error) {
			results := make([]batch.Result[string], len(tokens))
			for i, token := range tokens {
				if token == "bob" {
					results[i].Err = errUnregistered
				} else {
					results[i].Value = "message/" + token
				}
			}
			return results, nil
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close(context.Background())

	var wg sync.WaitGroup
	var lines [3]string
	for i, token := range []string{"alice", "bob", "carol"} {
		wg.Go(func() {
			id, err := sender.Do(context.Background(), token)
			lines[i] = fmt.Sprintf("%s: %q %v", token, id, err)
		})
	}
	wg.Wait()
	fmt.Println(strings.Join(lines[:], "\n"))
	// Output:
	// alice: "message/alice" <nil>
	// bob: "" unregistered
	// carol: "message/carol" <nil>
}

// No tenant delays another, and each gets its events in order.
func ExampleKeyed() {
	var mu sync.Mutex
	events := map[string][]int{}
	byTenant, err := batch.NewKeyed(batch.Options[int]{MaxItems: 3, InFlight: 4}, func(_ context.Context, tenant string, batch []int) error {
		mu.Lock()
		defer mu.Unlock()
		events[tenant] = append(events[tenant], batch...)
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 5 {
		byTenant.Add(context.Background(), "acme", i)
		byTenant.Add(context.Background(), "zeta", 10*i)
	}
	byTenant.Close(context.Background())
	fmt.Println(events["acme"], events["zeta"])
	// Output: [0 1 2 3 4] [0 10 20 30 40]
}

// Submit does not wait for the result; its ticket does, when asked.
func ExampleTicket() {
	squares, _ := batch.NewCaller(batch.Options[int]{}, func(_ context.Context, vs []int) ([]batch.Result[int], error) {
		results := make([]batch.Result[int], len(vs))
		for i, v := range vs {
			results[i].Value = v * v
		}
		return results, nil
	})
	ctx := context.Background()
	three, _ := squares.Submit(ctx, 3)
	four, _ := squares.Submit(ctx, 4)
	squares.Close(ctx)
	a, _ := three.Wait(ctx)
	b, _ := four.Wait(ctx)
	fmt.Println(a, b)
	// Output: 9 16
}

// The handler says which of its items failed; only they are tried again.
func ExampleFailure() {
	attempt := 0
	b, _ := batch.New(batch.Options[string]{Attempts: 2, Backoff: time.Millisecond}, func(_ context.Context, items []string) error {
		fmt.Println(items)
		if attempt++; attempt == 1 {
			return &batch.Failure{Items: map[int]error{1: errors.New("busy")}}
		}
		return nil
	})
	b.AddAll(context.Background(), []string{"a", "b", "c"})
	b.Close(context.Background())
	// Output:
	// [a b c]
	// [b]
}

// When its context ends, Close gives back the items without an outcome, so that they can be stored.
func ExampleDrainError() {
	stuck := make(chan struct{})
	defer close(stuck)
	started := make(chan struct{})
	b, _ := batch.New(batch.Options[int]{MaxItems: 2}, func(context.Context, []int) error {
		close(started)
		<-stuck
		return nil
	})
	b.AddAll(context.Background(), []int{1, 2, 3})
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err := b.Close(ctx)
	var drain *batch.DrainError[int]
	if errors.As(err, &drain) {
		fmt.Println("never handed over:", drain.Undelivered)
		fmt.Println("in doubt:", drain.InDoubt)
	}
	fmt.Println(err)
	// Output:
	// never handed over: [3]
	// in doubt: [1 2]
	// batch: Close timed out: 1 item not sent, 2 possibly sent (see DrainError.Undelivered and .InDoubt), 1 handler call still running: context deadline exceeded
}

// The items that a Keyed gives back have their keys.
func ExampleEntry() {
	k, _ := batch.NewKeyed(batch.Options[int]{Linger: time.Hour, MaxAge: 2 * time.Hour, Pace: time.Hour, MaxItems: 1, PendingItems: 10, PendingPerKey: 5},
		func(context.Context, string, []int) error { return nil })
	ctx := context.Background()
	k.Add(ctx, "first", 0) // goes at once; the others are paced
	k.Add(ctx, "acme", 1)
	k.Add(ctx, "zeta", 2)
	k.Add(ctx, "acme", 3)
	for k.Stats().Delivered == 0 {
		time.Sleep(time.Millisecond)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var drain *batch.DrainError[batch.Entry[string, int]]
	if errors.As(k.Close(ended), &drain) {
		fmt.Println(drain.Undelivered)
	}
	// Output: [{acme 1} {zeta 2} {acme 3}]
}

func ExampleStats() {
	b, _ := batch.New(batch.Options[int]{MaxItems: 2}, func(_ context.Context, items []int) error {
		if items[0] == 0 {
			return errors.New("down")
		}
		return nil
	})
	b.AddAll(context.Background(), []int{0, 1, 2, 3, 4})
	b.Close(context.Background())
	s := b.Stats()
	fmt.Println(s.Admitted, "admitted =", s.Delivered, "delivered +", s.Failed, "failed")
	// Output: 5 admitted = 3 delivered + 2 failed
}
