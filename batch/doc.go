// Package batch collects items into batches in front of something slow. Everything is bounded:
// items, bytes, time, calls in flight, and callers that wait.
//
//   - [New] makes a [Batcher], for a handler that takes batches.
//   - [NewCaller] makes a [Caller], for a handler that answers: each caller gets the result of its
//     own item.
//   - [NewKeyed] makes a [Keyed], with a batch for each key, in order for each key;
//     [NewKeyedCaller] a [Caller] of that kind.
//
// Every option has a safe default, and no bound can be turned off. Every admitted item has exactly
// one outcome, and [Stats] add up at any instant. Use a channel instead if there is nothing to gain
// from batches, and a broker if items must survive the process.
//
// # What happens to an item
//
//	when                               the item                          who is told        safe to send again?
//	the handler returns nil            delivered                         Observer, caller
//	it returns an error                failed; tried again if Attempts   Observer, caller   as the error says
//	                                   and Retry say so
//	it returns a Failure with Items    those fail, others delivered      Observer, caller   as the error says
//	it refuses a batch (Split)         bad ones fail, others delivered   Observer, caller   a bad one: no
//	… and the batcher gives up         failed, ErrGivenUp                Observer, caller   yes
//	it runs past its Timeout           failed, ErrTimeout, once it has   Observer, caller   unknown
//	                                   returned; callers hear at 1.1×
//	it panics, or ends its goroutine   failed, with the stack            Observer, caller   unknown
//	the item is older than MaxAge      expired                           Observer, caller   yes
//	the ctx of its Do ends             withdrawn, if not handed over     caller             yes
//	Close has time                     as above
//	Close runs out of time             returned: Undelivered             who called Close   yes
//	                                   returned: InDoubt                 who called Close   unknown
//	an item of its key failed          HoldKeys: waits for Resume        Stats.Held
//	the process is killed              lost                              nobody             keep it elsewhere
//
// Without an Observer, a [Batcher] and a [Keyed] log failed and expired items with slog.Default,
// and Close returns an error.
//
// If the outcome is unknown, the batcher does not try again, unless [Options].Idempotent is set. An
// item is handed over Attempts times at most, for any reason.
//
// # How often an item is sent
//
//	Options                          an error      an unknown outcome   refused, as Split says
//	none                             1             1                    1
//	Attempts: 3                      up to 3       1                    up to 3
//	Attempts: 3, Idempotent: true    up to 3       up to 3              up to 3
//	Split                            1             1                    until the bad items are found
//
// # Contexts, links and values of one item
//
// The context of a batch does not derive from a caller's context, because one caller's cancel must
// not fail the others. What belongs to an item goes into the item: let T be a struct with the
// trace's span context, a deadline or a callback, and let the handler link, skip or call it.
//
// # Leak
//
// The naive code has an unbounded queue in front of a slow downstream, and waits for the downstream
// without a limit:
//
//	func (s *Sender) Push(m *Message) { s.queue = append(s.queue, m) } // under a mutex
//
//	for range time.Tick(time.Second) {
//		go s.provider.Send(s.take(500)) // as many at once as the provider is slow
//	}
//
// A burst of 100,000 messages then puts 100,000 messages in memory or, worse, as many blocked
// goroutines. A bounded channel only moves the goroutines to the callers. The rule: bound the
// queue, the calls in flight and the waiting callers; give every call a deadline; and count a call
// as in flight until it has returned. TestAFastProducerDoesNotGrowTheHeap proves it, and its leaky
// counterpart TestAnUnboundedQueueGrowsTheHeap is this code; TestTimeoutKeepsThePlace,
// TestMaxWaiters and TestItemsAreCollected prove the rest.
//
// # Cost
//
// With one producer, Add takes 1.6 to 1.9 times as long as a mutex and an append with neither timer
// nor bound. On the same scale bundler takes 6, and a channel with a ticker 7. Add makes 0.01
// allocations per item. Submit and Wait take 0.3 times as long as dataloadgen, and with eight
// producers 0.45 to 0.6. A Do without other callers takes 1.4 times as long as the same by hand.
//
// go run -C internal/bench ./batch prints the whole table; docs/benchmarks.md has it.
//
// The command leakvet (leakcheck/cmd/leakvet) finds, before a program runs, a batcher that is not
// closed on some path, or made for every request.
package batch
