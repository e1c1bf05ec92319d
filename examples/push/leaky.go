package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"firebase.google.com/go/v4/messaging"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/text/encoding/korean"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// A job is what the leaky worker allocates for every message.
type job struct {
	wire    []byte
	text    []byte
	message *messaging.Message
}

// jobs are the messages on their way. Nothing bounds them.
var (
	jobsMu sync.Mutex
	jobs   = map[*job]bool{}
)

// runLeaky is the leaky worker: it takes every message at once, allocates buffers for each, and
// waits for a slow downstream without a bound.
func runLeaky(c config) error {
	ctx := context.Background()
	var sent atomic.Int64
	var take atomic.Pointer[jetstream.ConsumeContext]
	guard, err := startGuard(c.Limit, func(w *words) {
		if t := take.Load(); t != nil {
			(*t).Stop() // otherwise the heap grows while it is searched
		}
		w.Sent, w.Kept = int(sent.Load()), whatRetainsAJob()
	})
	if err != nil {
		return err
	}
	defer guard.Stop()
	nc, _, stream, err := connect(ctx, c.NATS)
	if err != nil {
		return err
	}
	defer nc.Close()
	fcm, err := newFCM(ctx, c.FCM)
	if err != nil {
		return err
	}
	queue, err := consumer(ctx, stream, 0, -1)
	if err != nil {
		return err
	}
	consuming, err := queue.Consume(func(m jetstream.Msg) {
		go func() {
			j := &job{wire: m.Data()}
			jobsMu.Lock()
			jobs[j] = true
			jobsMu.Unlock()
			if deliver(ctx, fcm, j) == nil {
				sent.Add(1)
				_ = m.Ack()
			}
			jobsMu.Lock()
			delete(jobs, j)
			jobsMu.Unlock()
		}()
	}, jetstream.PullMaxMessages(100_000))
	if err != nil {
		return err
	}
	take.Store(&consuming)
	sayReady("leaky")
	untilParentIsGone()
	consuming.Stop()
	last := words{Sent: int(sent.Load())}
	last.PeakHeap, last.PeakMemory = guard.peak()
	return sayLast(last)
}

func deliver(ctx context.Context, fcm *messaging.Client, j *job) error {
	text, err := korean.EUCKR.NewDecoder().Bytes(j.wire)
	if err != nil {
		return err
	}
	j.text = text
	e, buffer, err := decode(j.wire)
	if err != nil {
		return err
	}
	m, err := toMessage.Map(e)
	buffer.Release()
	if err != nil {
		return err
	}
	j.message = &m
	_, err = fcm.Send(ctx, j.message)
	return err
}

// whatRetainsAJob returns the path that retains one of the jobs. It holds the lock, so that the job
// does not end meanwhile.
func whatRetainsAJob() string {
	jobsMu.Lock()
	defer jobsMu.Unlock()
	for one := range jobs {
		path, err := leakcheck.WhyAlive(one)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%d messages are on their way at once; of one of them:\n%s",
			len(jobs), path)
	}
	return "nothing is retained"
}
