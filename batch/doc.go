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
// Time per item as a ratio to a mutex and an append with neither timer nor
// bound; batches of 500, a handler that returns at once, 2 cores, the best
// of 15 interleaved rounds (go run -C internal/bench ./batch):
//
//	                          1 producer  8 producers  allocs/item
//	Add                              3.3          1.3         0.01
//	AddAll, 64 at a time             1.1          0.4         0.01
//	channel and ticker              14.1          4.2         0.01
//	bundler                         12.0          5.5         1.03
//	OpenTelemetry, blocking         27.3          8.0         0.01
//	rill                            44.9         18.4         0.00
//
// The 0.01 are the slice and the context of a batch. Submit and Wait take 0.36
// of the time of dataloadgen, with 8 producers 0.53, and 0.02 allocations instead of 1.07.
//
// A burst of 100,000 messages of 1 KiB in front of a downstream that takes four
// batches at once, 50 ms each (go run -C internal/bench ./batch -burst): 7.1 MB
// at most, none lost, 1.01 of the ideal time, with AddAll 6.2 MB and 1.02; bundler needs 110 MB,
// OpenTelemetry's default loses 95,952. With 100,000 callers and MaxWaiters at
// 1000 it is 22.5 MB, with as many waiters as callers 307 MB.
package batch
