package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The work queue: a message leaves it when it is acknowledged.
const (
	streamName = "PUSH"
	subject    = "push.events"

	// A message that was delivered maxDeliver times and is still not done goes here, for a person
	// to look at.
	deadStream  = "PUSH_DEAD"
	deadSubject = "push.dead"
	maxDeliver  = 10
)

// runBroker is an embedded NATS server with JetStream. It has a process of its own: it takes tens
// of MiB, and must survive the workers. It removes the scene's folder when its parent has ended, in
// any way.
func runBroker(c config) error {
	defer os.RemoveAll(c.Dir)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: c.Dir,
		NoSigs: true, NoLog: true,
	})
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

// connect opens the queue. It creates the stream if it does not exist.
func connect(
	ctx context.Context, url string,
) (*nats.Conn, jetstream.JetStream, jetstream.Stream, error) {
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
		Name: streamName, Subjects: []string{subject},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	})
	if err == nil {
		_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: deadStream, Subjects: []string{deadSubject},
			MaxMsgs: 100_000, Storage: jetstream.FileStorage,
		})
	}
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return nc, js, stream, nil
}

// consumer returns the consumer that all workers share. pending bounds the messages that are
// delivered and not yet acknowledged, over all workers: it is the queue's back-pressure.
func consumer(
	ctx context.Context, stream jetstream.Stream, ackWait time.Duration, pending int,
) (jetstream.Consumer, error) {
	return stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "push", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxAckPending: pending,
	})
}
