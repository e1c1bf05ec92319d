package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func answers(pushes []Push) []batch.Result[string] {
	results := make([]batch.Result[string], len(pushes))
	for i, p := range pushes {
		results[i].Value = "sent to " + p.Token
	}
	return results
}

// 10,000 callers at once in front of a slow provider.
func TestBurst(t *testing.T) {
	leakcheck.Check(t)
	synctest.Test(t, func(t *testing.T) {
		var active atomic.Int64
		out, err := New(func(_ context.Context, pushes []Push) ([]batch.Result[string], error) {
			assert.LessOrEqual(t, active.Add(1), int64(4))
			defer active.Add(-1)
			time.Sleep(50 * time.Millisecond)
			return answers(pushes), nil
		})
		require.NoError(t, err)
		var wg sync.WaitGroup
		var full atomic.Int64
		for i := range 10_000 {
			wg.Go(func() {
				token := fmt.Sprint(i)
				push := Push{Token: token, Text: strings.Repeat("x", 4000)}
				answer, err := out.Do(t.Context(), push)
				if err != nil {
					assert.ErrorIs(t, err, batch.ErrFull)
					full.Add(1)
					return
				}
				assert.Equal(t, "sent to "+token, answer)
			})
		}
		wg.Wait()
		assert.NoError(t, out.Close(t.Context()))
		assert.EqualValues(t, 10_000, full.Load()+out.Stats().Delivered)
	})
}

// Each push is sent once, whatever happens to the connection or to other pushes. It is sent again
// only if the provider said that it took nothing.
func TestNothingIsSentTwice(t *testing.T) {
	const n = 500
	for name, c := range map[string]struct {
		provider func(call int, pushes []Push) ([]batch.Result[string], error)
		want     func(t *testing.T, token string, sent int, err error)
	}{
		"the connection breaks": {
			func(int, []Push) ([]batch.Result[string], error) { return nil, io.ErrUnexpectedEOF },
			func(t *testing.T, _ string, sent int, err error) {
				assert.Equal(t, 1, sent)
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			},
		},
		"one is rejected": {
			func(_ int, pushes []Push) ([]batch.Result[string], error) {
				results := answers(pushes)
				for i, p := range pushes {
					if p.Token == "7" {
						results[i].Err = errors.New("unregistered")
					}
				}
				return results, nil
			},
			func(t *testing.T, token string, sent int, err error) {
				assert.Equal(t, 1, sent)
				assert.Equal(t, token == "7", err != nil)
			},
		},
		"one is not taken at first": {
			func(call int, pushes []Push) ([]batch.Result[string], error) {
				results := answers(pushes)
				if call == 1 {
					results[7].Err = ErrBusy
				}
				return results, nil
			},
			func(t *testing.T, token string, sent int, err error) {
				assert.NoError(t, err)
				if token == "7" {
					assert.Equal(t, 2, sent)
				} else {
					assert.Equal(t, 1, sent)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent, calls := map[string]int{}, 0
				send := func(_ context.Context, pushes []Push) ([]batch.Result[string], error) {
					calls++
					for _, p := range pushes {
						sent[p.Token]++
					}
					return c.provider(calls, pushes)
				}
				out, err := New(send)
				require.NoError(t, err)
				pushes := make([]Push, n)
				for i := range pushes {
					pushes[i].Token = fmt.Sprint(i)
				}
				for i, r := range out.DoAll(t.Context(), pushes) {
					c.want(t, pushes[i].Token, sent[pushes[i].Token], r.Err)
				}
				require.NoError(t, out.Close(t.Context()))
			})
		})
	}
}

func TestDrainLosesNothing(t *testing.T) {
	leakcheck.Check(t)
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		out, err := New(func(_ context.Context, pushes []Push) ([]batch.Result[string], error) {
			<-back // whatever its context says
			return answers(pushes), nil
		})
		require.NoError(t, err)
		for i := range 3000 {
			_, err := out.Submit(t.Context(), Push{Token: fmt.Sprint(i)})
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		kept := map[string]bool{}
		require.NoError(t, Drain(ctx, out, func(unsent, inDoubt []Push) error {
			for _, p := range append(unsent, inDoubt...) {
				kept[p.Token] = true
			}
			return nil
		}))
		assert.Len(t, kept, 3000)
		close(back)
	})
}

// The leaky counterpart: a goroutine for each message, without any bound.
func TestAGoroutineForEachPushLeaks(t *testing.T) {
	back := make(chan struct{})
	t.Cleanup(func() { close(back) })
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Check(t)
		send := func(Push) { <-back } // a provider that hangs
		for range 100 {
			go send(Push{Token: "a"})
		}
	})
}
