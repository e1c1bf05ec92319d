package pool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/pool"
)

// A handler encodes into a buffer, and sends only a complete encoding.
func ExampleBytes() {
	buffers := pool.NewBytes(pool.Options{})

	handler := func(w http.ResponseWriter, r *http.Request) {
		b := buffers.Get(0)
		defer b.Release()
		if err := json.NewEncoder(b.Writer()).Encode(map[string]string{"path": r.URL.Path}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(b.Bytes())
	}

	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest(http.MethodGet, "/hello", nil))
	fmt.Print(w.Body)
	// Output:
	// {"path":"/hello"}
}

// A Transport may read a request's body after Do has returned, so the body has
// the lease: closing it releases the buffer.
func ExampleBuffer_Body() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "got %d bytes", n)
	}))
	defer server.Close()
	buffers := pool.NewBytes(pool.Options{})

	b := buffers.Get(0)
	defer b.Release() // does nothing once Body has the lease
	fmt.Fprintf(b.Writer(), "a message of %d", 42)
	n := int64(len(b.Bytes()))
	req, err := http.NewRequest(http.MethodPost, server.URL, b.Body())
	if err != nil {
		fmt.Println(err)
		return
	}
	req.ContentLength = n
	resp, err := server.Client().Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	io.Copy(stdout{}, resp.Body)
	// Output:
	// got 15 bytes
}

// stdout is os.Stdout as it is now: examples exchange it.
type stdout struct{}

func (stdout) Write(p []byte) (int, error) { return fmt.Print(string(p)) }

// Any copy can end the lease, but only once.
func ExampleBuffer_Release() {
	buffers := pool.NewBytes(pool.Options{})
	b := buffers.Get(16)
	same := b
	fmt.Println(same.Release(), b.Release(), b)
	// Output:
	// true false pool.Buffer(released)
}

// Data taken out of the pool belongs to the caller.
func ExampleBuffer_Detach() {
	buffers := pool.NewBytes(pool.Options{})
	b := buffers.Get(0)
	b.WriteString("kept for long")
	data := b.Detach()
	fmt.Printf("%s\n", data)
	// Output:
	// kept for long
}

func ExampleWriter() {
	buffers := pool.NewBytes(pool.Options{})
	b := buffers.Get(0)
	defer b.Release()
	w := b.Writer()
	fmt.Fprintf(w, "%d, ", 1)
	w.WriteString("two, ")
	io.Copy(w, strings.NewReader("three"))
	fmt.Printf("%s\n", b.Bytes())
	// Output:
	// 1, two, three
}

func ExampleBytes_ReadAll() {
	buffers := pool.NewBytes(pool.Options{})
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("the request"))

	b, err := buffers.ReadAll(io.LimitReader(r.Body, 1<<20), int(r.ContentLength))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Release()
	fmt.Printf("%s\n", b.Bytes())
	// Output:
	// the request
}

// Work is admitted while there is memory for it, and leaves when its time is up.
func ExampleBytes_GetContext() {
	buffers := pool.NewBytes(pool.Options{MaxInUse: 1 << 20})
	held := buffers.Get(1 << 20)
	defer held.Release()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := buffers.GetContext(ctx, 4096)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

// Keys are cleared when their lease ends, and never printed.
func ExampleOptions() {
	keys := pool.NewBytes(pool.Options{Secret: true})
	b := keys.Get(0)
	b.WriteString("a key")
	memory := b.Bytes()
	fmt.Println(b)
	b.Release()
	fmt.Println(bytes.Equal(memory, make([]byte, 5)))
	// Output:
	// pool.Buffer(5 bytes)
	// true
}

func ExampleStats() {
	buffers := pool.NewBytes(pool.Options{MaxInUse: 1 << 30})
	b := buffers.Get(1 << 20)
	s := buffers.Stats()
	fmt.Println(s.InUseLeases, "lease has", s.InUse, "bytes")
	b.Release()
	s = buffers.Stats()
	fmt.Println(s.InUseLeases, "leases have", s.InUse, "bytes")
	// Output:
	// 1 lease has 1048576 bytes
	// 0 leases have 0 bytes
}

// In a test every lease is known.
func ExampleFinding() {
	buffers := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	for range 3 {
		buffers.Get(4096)
	}
	for _, h := range buffers.Outstanding() {
		text := h.String()
		fmt.Println(text[:strings.LastIndex(text, " (")])
	}
	// Output:
	// 3 leases (12 KiB) not released, acquired at github.com/leaksafe/leaksafe/pool_test.ExampleFinding
}

// In a test the use of a lease that has ended names both places.
func ExampleLevel() {
	defer func() {
		for line := range strings.Lines(fmt.Sprint(recover())) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " (")
			fmt.Println(line)
		}
	}()
	buffers := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b := buffers.Get(10)
	b.Release()
	b.Bytes()
	// Output:
	// pool: Buffer.Bytes called after the lease had ended
	// acquired at github.com/leaksafe/leaksafe/pool_test.ExampleLevel
	// released at github.com/leaksafe/leaksafe/pool_test.ExampleLevel
}

// Objects are reset when their lease ends, and those grown large are not kept.
func ExamplePool() {
	buffers := pool.New(func() *bytes.Buffer { return new(bytes.Buffer) },
		pool.PoolOptions[bytes.Buffer]{
			Reset: (*bytes.Buffer).Reset,
			Keep:  func(b *bytes.Buffer) bool { return b.Cap() <= 64<<10 },
		})

	buffers.With(func(b *bytes.Buffer) {
		b.WriteString("hello")
		fmt.Println(b)
	})
	// Output:
	// hello
}

func ExampleLease() {
	type point struct{ x, y int }
	points := pool.New(func() *point { return new(point) }, pool.PoolOptions[point]{Reset: func(p *point) { *p = point{} }})
	l := points.Get()
	l.Value().x, l.Value().y = 3, 4
	fmt.Println(*l.Value())
	fmt.Println(l.Release(), l.Release())
	// Output:
	// {3 4}
	// true false
}

// Above level Off a pool of objects knows who has them.
func ExampleOption() {
	readers := pool.New(func() *bytes.Reader { return new(bytes.Reader) }, pool.PoolOptions[bytes.Reader]{Level: pool.LevelCheck})
	readers.Get()
	for _, h := range readers.Outstanding() {
		fmt.Println("not released:", h.Leases)
	}
	// Output:
	// not released: 1
}
