// Package pool reuses byte buffers and objects without keeping what should go,
// and without two owners for one buffer.
//
//	var buffers = pool.NewBytes(pool.Options{})
//
//	b := buffers.Get(0)
//	defer b.Release()
//	json.NewEncoder(b.Writer()).Encode(v)
//	w.Write(b.Bytes())
//
// [Bytes] leases buffers in size classes, [Pool] leases objects, and [Scratch]
// is the one buffer of a decode loop. Use it where a profile shows that buffers
// are much of what is allocated; a buffer that is small and does not escape is
// cheaper from make.
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
// A sync.Pool knows nothing of size: buffers that were large once serve small
// requests, and all of them stay large (golang/go#23199). Dropping large buffers
// instead costs an allocation for each large request. A second Put of b, on an
// error path say, gives it to two owners (CVE-2023-45286). And Do may return
// while the Transport still reads the body (golang/go#81445).
//
// The rule: memory goes back once, to the class it is of, through the handle it
// was leased by; and what is large and idle goes away, without traffic too.
// Buffers to 64 KiB are in sync.Pools by class. Larger ones are in a list that is
// bounded by Options.MaxIdleBytes and every 0.1 s lets go of those that were not
// needed in that time. A [Buffer] is a pointer and a generation: the first
// Release of any copy moves the generation on, after which all copies are stale
// for ever, whoever has the memory next.
//
// What proves it: TestTheHeapAfterMixedTraffic and TestTheHeapAfterABurst beside
// raw sync.Pools, TestDoublePut, TestTransportReadsAfterReturn beside a naive
// pool, FuzzNothingCrosses, and TestNothingGrows with a leaky twin of each type.
//
// What no handle can see is a slice kept past Release, as from Bytes. Level
// [Check] finds writes through it, and shows 0xDB to reads; so does the race
// detector, if both run at once.
//
// # In a test
//
// Set LEAKSAFE_POOL=check, or Options.Level, and end with
//
//	for _, h := range buffers.Outstanding() {
//		t.Error(h) // 3 leases (12288 bytes) not released, acquired at main.handle (/src/main.go:31)
//	}
//
// # Cost
//
// Against a raw sync.Pool of *[]byte (go run -C internal/bench ./pool, the
// fastest of 25 interleaved rounds, two cores, go1.26):
//
//	                                fill 4 KiB  only lease  fill 40 KiB  fill 1 MiB  allocs/op
//	sync.Pool                             1.00        1.00         1.00        1.00          0
//	this package                          1.12        1.35         1.00        1.03          0
//	  MaxInUse                            1.89        4.10         1.07        1.03          0
//	  ZeroOnRelease                       2.88        7.88         1.72        3.62          0
//	  level Sample                        2.91        7.95         1.65        1.31       0.05
//	  level Check                       127.73      503.63        66.59       34.79          7
//	vitess/bucketpool                     1.09        1.29         1.00        1.00          0
//	bytebufferpool                        1.11        1.28         1.01        1.01          0
//	libp2p                                1.31        2.39         1.01        1.03          0
//	grpc/mem                              2.15        5.41        20.18        3.64          0
//	prometheus                            2.78        7.05         1.18        1.03          2
//
// What the heap holds, each in a process of its own: after 400,000 operations of
// 64 goroutines, 1 in 100 with 1 MiB and the others with 1 KiB, then a second of
// 1 KiB only, and one collection; and after 256 buffers of 1 MiB at once and one
// collection, then a second without traffic and another:
//
//	                                mixed   garbage   burst   idle
//	this package                    0 MiB    18 B/op  16 MiB  0 MiB
//	no pool                         0 MiB 11382 B/op   0 MiB  0 MiB
//	sync.Pool of *[]byte           63 MiB   165 B/op 256 MiB  0 MiB
//	sync.Pool of bytes.Buffer      64 MiB   168 B/op 256 MiB  0 MiB
//	  the same, oversize dropped    0 MiB 10378 B/op   0 MiB  0 MiB
//	bpool                          64 MiB   168 B/op  64 MiB 64 MiB
//	bytebufferpool                  0 MiB  9415 B/op 256 MiB  0 MiB
//	vitess/bucketpool              10 MiB    57 B/op 256 MiB  0 MiB
//	libp2p                          8 MiB   105 B/op 256 MiB  0 MiB
//	grpc/mem                       16 MiB    97 B/op 256 MiB  0 MiB
//	prometheus                      0 MiB    64 B/op 256 MiB  0 MiB
package pool
