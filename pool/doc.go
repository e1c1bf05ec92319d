// Package pool reuses byte buffers and objects. Memory that is not needed is freed, and no buffer
// ever has two owners.
//
//	var buffers = pool.NewBytes(pool.Options{})
//
//	b := buffers.Get(0)
//	defer b.Release()
//	if err := json.NewEncoder(b.Writer()).Encode(v); err != nil {
//		return err
//	}
//	w.Write(b.Bytes())
//
// Use it where a profile shows that buffers are much of what is allocated. A buffer that is small
// and does not escape is cheaper from make.
//
//   - [NewBytes], [Bytes], [Buffer], [Writer]: byte buffers. [Buffer.Retain] shares one among
//     receivers, [Buffer.Body] gives it to an HTTP request, [Buffer.Detach] takes it out of the
//     pool.
//   - [Slices], [Pointers]: plain slices for [net/http/httputil.BufferPool], [io.CopyBuffer] and
//     gRPC (module pool/grpcpool).
//   - [New], [Pool], [Lease]: objects.
//   - Package pool/scratch: the one buffer of a decode loop.
//
// # Leak
//
// This leaks, and gives one request's bytes to another:
//
//	var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
//
//	b := buffers.Get().(*bytes.Buffer)
//	b.Reset()
//	json.NewEncoder(b).Encode(v)
//	req, _ := http.NewRequest("POST", url, bytes.NewReader(b.Bytes()))
//	client.Do(req)
//	buffers.Put(b)
//
// A sync.Pool does not know sizes: buffers that were large once serve small requests, and all of
// them stay large (golang/go#23199). Dropping large buffers costs an allocation for each large
// request. A second Put of b, for example on an error path, gives it to two owners
// (CVE-2023-45286). And Do may return while the Transport still reads the body (golang/go#81445).
//
// The rule: memory goes back exactly once, to its size class, through the handle by which it was
// leased. Idle memory is freed, with or without traffic. A [Buffer] is a pointer and a generation.
// The first Release of any copy moves the generation on. After that all copies are stale, even when
// the memory has a new owner.
//
// Tests prove it: TestTheHeapAfterMixedTraffic and TestTheHeapAfterABurst beside raw sync.Pools,
// TestMemoryGoesBackToTheSystemWithoutTraffic, TestDoublePut and TestTransportReadsAfterReturn
// beside a naive pool, FuzzNothingCrosses and FuzzClearing, and TestNothingGrows with a leaky
// counterpart of each type.
//
// The pool cannot see a slice that is used after Release, such as the result of Bytes. [LevelCheck]
// finds writes through such a slice, and reads through it return 0xDB. The race detector finds the
// use if the old and the new owner run at the same time.
//
// # What is bounded
//
// Idle buffers above 64 KiB are bounded by Options.MaxIdleBytes. Smaller idle buffers are not
// bounded in bytes: after a burst there are as many as were leased at once. Buffers of both kinds
// that nobody needed for 0.1 to 0.3 s are dropped. The package calls [runtime/debug.FreeOSMemory]
// when three things hold: at least 4 MiB and a sixteenth of the heap were dropped, at most a
// sixteenth of that was dropped in the last 5 s, and fewer than three garbage collections ended
// since. With GOGC=off the package does not call it.
//
// Above 64 KiB a buffer is less than a quarter larger than requested. Below, it is less than twice
// as large, and at least 256 B. A buffer that grows takes at least twice its memory, so request the
// length where it is known; ReadAll with the right hint takes what the hint needs.
//
// # In a test
//
// Set LEAKSAFE_POOL=check, or Options.Level, and end with
//
//	for _, f := range buffers.Outstanding() {
//		t.Error(f) // 3 leases (12 KiB) not released, acquired at main.handle (/src/main.go:31)
//	}
//
// This reports leases that were not released, buffers that were written to after Release, and
// slices that were put twice, also behind a server that recovers panics.
//
// # Cost
//
// Beside a raw sync.Pool of *[]byte, on two cores with go1.26 (go run -C internal/bench ./pool; all
// tables in docs/benchmarks.md):
//
//	                 fill 4 KiB  only lease  fill 40 KiB  fill 1 MiB  allocs/op
//	sync.Pool              1.00        1.00         1.00        1.00          0
//	this package           1.13        1.31         1.03        1.01          0
//	vitess bucketpool      1.08        1.24         1.05        1.08          0
//	grpc/mem               2.24        4.12        21.00        2.98          0
//
// The command leakvet (leakcheck/cmd/leakvet) finds, before a program runs, a lease that is not
// released on some path, or used after Release.
package pool
