package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/errorutils"
	"firebase.google.com/go/v4/messaging"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/api/option"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/pool"
)

// A worker takes events from the queue and sends them in batches. Everything
// it holds is bounded: what the queue delivers ahead, what waits for a batch, the
// batches in flight, and how long each may take.
type worker struct {
	fcm      *messaging.Client
	js       jetstream.JetStream
	statuses *os.File
	batches  *batch.Batcher[item]

	sent, rejected, retried, dead prometheus.Counter
}

// An item is an event on its way: the buffer is released and the message
// acknowledged when its outcome is known.
type item struct {
	event  event
	buffer pool.Buffer
	msg    jetstream.Msg
}

// words is what a worker prints before it ends, the leaky one too.
type words struct {
	Sent, Rejected, Retried, Dead int
	PeakHeap, PeakMemory          int64  // bytes: of objects, and all that the Go runtime held
	InUse                         int64  // bytes that no collection frees, when the guard ended it
	Kept                          string // what retains the memory, where it ran out
}

// pendingItems is how many events one worker holds at most: four batches in flight and one that is
// being filled.
const pendingItems = 2500

func runWorker(c config) error {
	ctx := context.Background()
	guard, err := startGuard(c.Limit, nil)
	if err != nil {
		return err
	}
	defer guard.Stop()
	nc, js, stream, err := connect(ctx, c.NATS)
	if err != nil {
		return err
	}
	defer nc.Close()
	w, err := newWorker(ctx, c, js)
	if err != nil {
		return err
	}
	defer w.statuses.Close()
	metrics, err := w.serveMetrics()
	if err != nil {
		return err
	}
	defer metrics.Close()

	queue, err := consumer(ctx, stream, time.Duration(c.AckWait)*time.Millisecond, 3*pendingItems)
	if err != nil {
		return err
	}
	take, err := queue.Consume(func(m jetstream.Msg) {
		w.take(ctx, m)
	}, jetstream.PullMaxMessages(500))
	if err != nil {
		return err
	}
	sayReady("http://" + metrics.Addr().String() + "/metrics")
	untilParentIsGone()

	take.Stop()
	<-take.Closed()
	if err := w.drain(); err != nil {
		return err
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		return err
	}
	last := words{
		Sent: value(w.sent), Rejected: value(w.rejected),
		Retried: value(w.retried), Dead: value(w.dead),
	}
	last.PeakHeap, last.PeakMemory = guard.peak()
	return sayLast(last)
}

func newWorker(ctx context.Context, c config, js jetstream.JetStream) (*worker, error) {
	fcm, err := newFCM(ctx, c.FCM)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.Dir, "statuses.txt")
	statuses, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := &worker{fcm: fcm, js: js, statuses: statuses,
		sent:     counter("push_sent_total", "Messages that FCM accepted."),
		rejected: counter("push_rejected_total", "Messages whose token or content is not valid."),
		retried:  counter("push_retried_total", "Messages given back to the queue."),
		dead:     counter("push_dead_total", "Messages moved to the subject of the dead."),
	}
	w.batches, err = batch.New(batch.Options[item]{
		MaxItems:     500, // FCM's limit
		Linger:       time.Second,
		PendingItems: pendingItems,
		InFlight:     4,
		Timeout:      10 * time.Second, // the SDK alone would wait for minutes
		Pace:         10 * time.Millisecond,
		Observer:     w.observe,
	}, w.send)
	return w, err
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// newFCM is the real Admin SDK, pointed at the local endpoint.
func newFCM(ctx context.Context, endpoint string) (*messaging.Client, error) {
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 200, MaxConnsPerHost: 200},
	}
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: "demo"},
		option.WithEndpoint(endpoint+"/v1"), option.WithHTTPClient(client))
	if err != nil {
		return nil, err
	}
	return app.Messaging(ctx)
}

// take decodes a message and waits for room. While it waits, no other message is taken from the
// queue.
func (w *worker) take(ctx context.Context, m jetstream.Msg) {
	if info, err := m.Metadata(); err == nil && info.NumDelivered > maxDeliver {
		w.bury(ctx, m)
		return
	}
	e, buffer, err := decode(m.Data())
	if err != nil {
		w.rejected.Inc()
		_ = m.TermWithReason(err.Error())
		return
	}
	if err := w.batches.Add(ctx, item{e, buffer, m}); err != nil {
		w.giveBack(item{e, buffer, m}, 0)
	}
}

// bury moves a message to the dead-letter subject. If that fails the queue delivers it again.
func (w *worker) bury(ctx context.Context, m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := w.js.Publish(ctx, deadSubject, m.Data()); err != nil {
		_ = m.NakWithDelay(time.Second)
		return
	}
	w.dead.Inc()
	_ = m.TermWithReason("delivered too often")
}

// send sends a batch to FCM, writes the statuses in one write, and only then returns which messages
// are done. The batcher does not retry: the queue delivers the failed messages again.
func (w *worker) send(ctx context.Context, items []item) error {
	messages := make([]*messaging.Message, len(items))
	for i := range items {
		m, err := toMessage.Map(items[i].event)
		if err != nil {
			return err
		}
		messages[i] = &m
	}
	answer, err := w.fcm.SendEach(ctx, messages)
	if err != nil {
		return err
	}
	if err := w.writeStatuses(items, answer.Responses); err != nil {
		return err
	}
	failed := map[int]error{}
	for i, r := range answer.Responses {
		switch {
		case r.Success:
			w.sent.Inc()
		case refused(r.Error):
			w.rejected.Inc()
		default:
			failed[i] = &batch.Failure{Err: r.Error, RetryAfter: retryAfter(r.Error)}
		}
	}
	return &batch.Failure{Items: failed}
}

// refused reports whether another attempt is useless, because the token or the message is not
// valid.
func refused(err error) bool {
	return messaging.IsUnregistered(err) || messaging.IsInvalidArgument(err)
}

// observe is told the outcome of each message, also when its batch panicked or timed out. Messages
// that are not done go back to the queue.
func (w *worker) observe(items []item, err error) {
	if err == nil {
		for _, it := range items {
			w.done(it)
		}
		return
	}
	delay := time.Second
	var f *batch.Failure
	if errors.As(err, &f) {
		delay = f.RetryAfter
	}
	if len(items) > 1 {
		slog.Error("push: a batch goes back to the queue", "messages", len(items), "error", err)
	}
	for _, it := range items {
		w.giveBack(it, delay)
	}
}

// writeStatuses appends a line for each message whose outcome is final, with one write per batch.
func (w *worker) writeStatuses(items []item, responses []*messaging.SendResponse) error {
	var b strings.Builder
	for i, r := range responses {
		switch {
		case r.Success:
			fmt.Fprintf(&b, "%s sent\n", items[i].event.ID)
		case refused(r.Error):
			fmt.Fprintf(&b, "%s rejected\n", items[i].event.ID)
		}
	}
	_, err := w.statuses.WriteString(b.String())
	return err
}

func (w *worker) done(it item) {
	it.buffer.Release()
	_ = it.msg.Ack() // if this is lost, the queue delivers again: a duplicate, not a loss
}

func (w *worker) giveBack(it item, delay time.Duration) {
	it.buffer.Release()
	w.retried.Inc()
	_ = it.msg.NakWithDelay(max(delay, 100*time.Millisecond))
}

// retryAfter is how long FCM asks to wait.
func retryAfter(err error) time.Duration {
	resp := errorutils.HTTPResponse(err)
	if resp == nil {
		return 0
	}
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// drain sends the messages that were taken. Messages that cannot be sent in time go back to the
// queue.
func (w *worker) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	err := w.batches.Close(ctx)
	var left *batch.DrainError[item]
	if errors.As(err, &left) {
		for _, it := range left.Undelivered {
			w.giveBack(it, 0)
		}
		return nil // items in doubt are delivered again when their AckWait is over
	}
	return err
}

// serveMetrics serves Prometheus metrics.
func (w *worker) serveMetrics() (net.Listener, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.sent, w.rejected, w.retried, w.dead,
		prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "push_pending", Help: "Events taken that have no outcome."},
			func() float64 { return float64(w.batches.Stats().Pending) }))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	go func() { _ = http.Serve(listener, mux) }()
	return listener, nil
}

// value reads a counter.
func value(c prometheus.Counter) int {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		return 0
	}
	return int(m.GetCounter().GetValue())
}
