// Package batch collects items into batches in front of something slow, and is
// bounded in every dimension: items, bytes, time, calls in flight, callers that
// wait.
//
// [New] makes a [Batcher] for a handler that takes batches; [NewResult] a
// [Caller] for a handler that answers, with the answer for each caller's own
// item; [NewKeyed] a [Keyed] with batches by key, in order for each key. The
// zero of every option is a safe default, and there is none that says
// "unbounded".
//
// Every admitted item has exactly one outcome: the handler delivered it, it
// failed, it expired before its turn, its caller withdrew it, or Close gave it
// back. [Stats] add up at any instant. Use a channel instead if there is nothing
// to gain from batches, and a broker if items must survive the process.
//
// # Leak
//
// The naive code queues without a bound in front of a downstream that is slow
// today, and waits for it without one:
//
//	func (s *Sender) Push(m *Message) { s.queue = append(s.queue, m) } // under a mutex
//
//	for range time.Tick(time.Second) {
//		go s.provider.Send(s.take(500)) // as many at once as the provider is slow
//	}
//
// A burst of 100,000 messages is then 100,000 messages in memory, or as many
// blocked goroutines, which is worse. A bounded channel only moves them to the
// callers. The rule: bound what is queued, what is in flight and who waits, end
// every call at a deadline, and keep the place of a call until it has returned.
// TestAFastProducerDoesNotGrowTheHeap proves it, and its leaky twin
// TestAnUnboundedQueueGrowsTheHeap is this code; TestTimeoutKeepsThePlace,
// TestMaxWaiters and TestItemsAreCollected prove the rest.
//
// # Cost
//
// Batches of 500, a handler that returns at once; ns per item as a ratio to a
// mutex and an append that has neither timer nor bound:
//
// TABLE
package batch
