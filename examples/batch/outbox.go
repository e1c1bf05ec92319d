// Package outbox sends push messages in batches, sends none twice, and loses none at shutdown.
package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/leaksafe/leaksafe/batch"
)

type Push struct{ Token, Text string }

// ErrBusy means that the provider took nothing; try again later.
var ErrBusy = errors.New("outbox: provider is busy")

// New returns an outbox for a provider that takes 500 pushes a call and answers each. Do blocks
// while 8 MiB are pending; at most 1000 callers wait. Only pushes that failed with ErrBusy are sent
// again. After a broken connection it is unknown what the provider took, so the callers get the
// error.
func New(
	provider func(context.Context, []Push) ([]batch.Result[string], error),
) (*batch.Caller[Push, string], error) {
	return batch.NewCaller(batch.Options[Push]{
		MaxItems: 500, MaxBytes: 1 << 20, PendingBytes: 8 << 20,
		SizeOf: func(p Push) int { return 64 + len(p.Token) + len(p.Text) },
		Linger: 20 * time.Millisecond, InFlight: 4, Timeout: 10 * time.Second,
		Attempts: 3, Retry: func(err error) bool { return errors.Is(err, ErrBusy) },
	}, provider)
}

// Drain stops the outbox. It calls keep with the pushes that could not be sent before ctx ended.
// Pushes in doubt may have been sent.
func Drain(
	ctx context.Context, out *batch.Caller[Push, string], keep func(unsent, inDoubt []Push) error,
) error {
	var left *batch.DrainError[Push]
	err := out.Close(ctx)
	if errors.As(err, &left) {
		return keep(left.Undelivered, left.InDoubt)
	}
	return err
}
