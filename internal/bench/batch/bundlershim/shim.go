// Package bundler has the API of google.golang.org/api/support/bundler on top of package batch, so
// that bundler's own tests can run against it. Its fields must be set before the first Add.
package bundler

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/batch"
)

// The errors that bundler's tests compare with. Package batch allows Add and TryAdd on one Batcher,
// so errMixedMethods is never returned.
var (
	ErrOverflow      = errors.New("bundler reached buffered byte limit")
	ErrOversizedItem = errors.New("item size exceeds bundle byte limit")
	//lint:ignore U1000 bundler's tests, which are compiled with this file, compare with it
	errMixedMethods = errors.New("calls to Add and AddWait cannot be mixed")
)

type entry struct {
	item any
	size int
}

// A Bundler has bundler's fields.
type Bundler struct {
	DelayThreshold       time.Duration
	BundleCountThreshold int
	BundleByteThreshold  int
	BundleByteLimit      int
	BufferedByteLimit    int
	HandlerLimit         int

	example any
	handler func(any)
	once    sync.Once
	b       *batch.Batcher[entry]
}

// NewBundler has bundler's defaults.
func NewBundler(example any, handler func(any)) *Bundler {
	return &Bundler{
		DelayThreshold: time.Second, BundleCountThreshold: 10, BundleByteThreshold: 1e6, BufferedByteLimit: 1e9, HandlerLimit: 1,
		example: example, handler: handler,
	}
}

// batcher makes the Batcher at the first use.
func (x *Bundler) batcher() *batch.Batcher[entry] {
	x.once.Do(func() {
		bytes := x.BundleByteThreshold
		if x.BundleByteLimit > 0 {
			bytes = x.BundleByteLimit
		}
		opt := batch.Options[entry]{
			MaxItems: min(x.BundleCountThreshold, 1<<20), MaxBytes: min(bytes, x.BufferedByteLimit, 1<<30), Linger: x.DelayThreshold,
			PendingItems: 1 << 30, PendingBytes: x.BufferedByteLimit, InFlight: x.HandlerLimit, MaxWaiters: 1e6,
			SizeOf: func(e entry) int { return e.size },
		}
		b, err := batch.New(opt, x.handle)
		if err != nil {
			panic(err)
		}
		x.b = b
	})
	return x.b
}

// handle passes a slice of the example's type to the handler.
func (x *Bundler) handle(_ context.Context, items []entry) error {
	all := reflect.MakeSlice(reflect.SliceOf(reflect.TypeOf(x.example)), 0, len(items))
	for _, e := range items {
		all = reflect.Append(all, reflect.ValueOf(e.item))
	}
	x.handler(all.Interface())
	return nil
}

// Add is TryAdd.
func (x *Bundler) Add(item any, size int) error {
	return translated(x.batcher().TryAdd(entry{item, size}))
}

// AddWait is Add.
func (x *Bundler) AddWait(ctx context.Context, item any, size int) error {
	return translated(x.batcher().Add(ctx, entry{item, size}))
}

// Flush is Flush.
func (x *Bundler) Flush() {
	if err := x.batcher().Flush(context.Background()); err != nil {
		panic(err)
	}
}

func translated(err error) error {
	switch {
	case errors.Is(err, batch.ErrFull):
		return ErrOverflow
	case errors.Is(err, batch.ErrTooLarge):
		return ErrOversizedItem
	}
	return err
}
