package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The work queue: a message leaves it when it is acknowledged.
const (
	streamName = "PUSH"
	subject    = "push.events"
)

// runBroker is an embedded NATS server with JetStream. It has a process of its
// own: it takes tens of MiB, and must survive the workers.
func runBroker(c config) error {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: c.Dir, NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the broker is not ready after 10 s")
	}
	sayReady(s.ClientURL())
	untilParentIsGone()
	return nil
}

// connect opens the queue, making the stream where it does not exist.
func connect(ctx context.Context, url string) (*nats.Conn, jetstream.JetStream, jetstream.Stream, error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("connecting to %s: %w", url, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subject}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	})
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return nc, js, stream, nil
}

// consumer is the workers' common one. pending bounds what is delivered and not
// yet acknowledged, over all workers: the queue's back-pressure.
func consumer(ctx context.Context, stream jetstream.Stream, ackWait time.Duration, pending int) (jetstream.Consumer, error) {
	return stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "push", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: pending,
	})
}
