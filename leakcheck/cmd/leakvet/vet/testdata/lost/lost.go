package lost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
	"github.com/leaksafe/leaksafe/pool"
)

var (
	buffers = pool.NewBytes(pool.Options{})
	objects = pool.New(func() *bytes.Buffer { return new(bytes.Buffer) })
	config  = &ctxreq.Config{}
)

// Wrong.

func earlyReturn(w io.Writer, v any) error {
	b := buffers.Get(0) // want `lease is not ended by Release: it is lost on the path that returns at line 31; its memory is not used again, and it counts against MaxInUse; write defer b.Release\(\)`
	if err := json.NewEncoder(b.Writer()).Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	b.Release()
	return err
}

func never(w io.Writer) {
	b := buffers.Get(8) // want `lease is not ended by Release: it is never ended`
	w.Write(b.Bytes())
}

func withContext(ctx context.Context) error {
	b, err := buffers.GetContext(ctx, 5) // want `lost on the path that returns at line 49`
	if err != nil {
		return err
	}
	if b.Len() == 0 {
		return errors.New("empty")
	}
	b.Release()
	return nil
}

func readAll(r io.Reader) (int, error) {
	b, err := buffers.ReadAll(r, 0) // want `lease is not ended`
	if err != nil {
		return 0, err
	}
	return b.Len(), nil
}

func retained(b pool.Buffer) int {
	c := b.Retain() // want `lease is not ended`
	return c.Len()
}

func object() int {
	l := objects.Get() // want `lease is not ended by Release: it is never ended; its object is not used again; write defer l.Release\(\)`
	return l.Value().Len()
}

func inOneCase(n int) {
	b := buffers.Get(n) // want `lost on a path to the end of the function`
	switch n {
	case 1:
		b.Release()
	case 2:
		fmt.Println(b.Len())
	}
}

func inALoop(list []int) error {
	for _, n := range list {
		b := buffers.Get(n) // want `lost on the path that returns at line 87; its memory is not used again, and it counts against MaxInUse; call Release on every path`
		if n == 7 {
			return errors.New("seven")
		}
		b.Release()
	}
	return nil
}

func scope(ctx context.Context) error {
	ctx, s := ctxreq.Start(ctx, "job") // want `scope is not ended by End: it is lost on the path that returns at line 97; whoever keeps its context keeps the request, and its cleanups do not run; write defer s.End\(nil\)`
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.End(nil)
}

func scopeOfConfig(ctx context.Context) {
	_, s := config.Start(ctx, "job") // want `scope is not ended by End: it is never ended`
	s.Report(errors.New("late"))
}

func batcher(ctx context.Context) error {
	b, err := batch.New(batch.Options[int]{}, send) // want `batcher is not ended by Close: it is lost on the path that returns at line 113`
	if err != nil {
		return err
	}
	if err := b.Add(ctx, 1); err != nil {
		return err
	}
	return b.Close(ctx)
}

func caller(c context.Context) (int, error) {
	b, err := batch.NewCaller(batch.Options[int]{}, answer) // want `caller is not ended by Close: it is never ended; its goroutines stay, and what it holds is not sent; call Close on every path`
	if err != nil {
		return 0, err
	}
	return b.Do(c, 1)
}

func watcher() error {
	w, err := watch.Start(watch.Options{}) // want `watcher is not ended by Stop: it is lost on the path that returns at line 132; its goroutine stays; write defer w.Stop\(\)`
	if err != nil {
		return err
	}
	if _, err := os.Stat("leaks"); err != nil {
		return err
	}
	w.Stop()
	return nil
}

func dropped() {
	watch.Start(watch.Options{}) // want `watcher is not ended by Stop: it is never ended; its goroutine stays; keep it in a variable, and call Stop`
}

func inCondition(n int) bool {
	if b := buffers.Get(n); b.Len() > 3 { // want `lease is not ended`
		return true
	}
	return false
}

// Right.

func deferred(w io.Writer, v any) error {
	b := buffers.Get(0)
	defer b.Release()
	return json.NewEncoder(b.Writer()).Encode(v)
}

func bothPaths(ok bool) {
	b := buffers.Get(1)
	if ok {
		b.Release()
		return
	}
	b.Release()
}

func handsOut() pool.Buffer { return buffers.Get(10) }

func handsOutLater() pool.Buffer {
	b := buffers.Get(10)
	fmt.Fprintf(b.Writer(), "x")
	return b
}

func handsOn() {
	b := buffers.Get(1)
	consume(b)
}

func consume(b pool.Buffer) { defer b.Release() }

func inClosure() {
	b := buffers.Get(1)
	defer func() { b.Release() }()
	_ = b.Bytes()
}

func asBody(url string) (*http.Request, error) {
	b := buffers.Get(1)
	return http.NewRequest("POST", url, b.Body())
}

func detached() []byte {
	b := buffers.Get(1)
	return b.Detach()
}

func toAChannel(c chan pool.Buffer) {
	b := buffers.Get(1)
	c <- b
}

type holder struct{ b pool.Buffer }

func inAField(h *holder) { h.b = buffers.Get(1) }

func inAStruct() *holder { return &holder{buffers.Get(1)} }

func inAMap(m map[string]pool.Buffer) { m["x"] = buffers.Get(1) }

func toAGoroutine() {
	b := buffers.Get(1)
	go consume(b)
}

func fatal() {
	b := buffers.Get(1)
	if b.Len() == 0 {
		log.Fatal("empty")
	}
	b.Release()
}

func panics() {
	b := buffers.Get(1)
	if b.Len() == 0 {
		panic("empty")
	}
	b.Release()
}

func exits(err error) {
	b := buffers.Get(1)
	if err != nil {
		os.Exit(1)
	}
	b.Release()
}

func errorInAVariable(ctx context.Context) (err error) {
	var b pool.Buffer
	b, err = buffers.GetContext(ctx, 5)
	if err != nil {
		return err
	}
	defer b.Release()
	return nil
}

func errorTheOtherWayRound(ctx context.Context) {
	b, err := buffers.GetContext(ctx, 5)
	if err == nil {
		b.Release()
	}
}

func loopThatReleases(list []int) {
	for _, n := range list {
		b := buffers.Get(n)
		b.Release()
	}
}

func scopeDeferred(ctx context.Context) (err error) {
	_, s := ctxreq.Start(ctx, "job")
	defer func() { s.End(err) }()
	return nil
}

func scopeOfARequest(ctx context.Context) { ctxreq.From(ctx).Report(errors.New("x")) }

func batcherDeferred(ctx context.Context) error {
	b, err := batch.New(batch.Options[int]{}, send)
	if err != nil {
		return err
	}
	defer b.Close(ctx)
	return b.Add(ctx, 1)
}

type service struct {
	rows    *batch.Batcher[int]
	watcher *watch.Watcher
}

func newService() (*service, error) {
	rows, err := batch.New(batch.Options[int]{}, send)
	if err != nil {
		return nil, err
	}
	return &service{rows: rows}, nil
}

func (s *service) start() (err error) {
	s.watcher, err = watch.Start(watch.Options{})
	return err
}

func printed() {
	b := buffers.Get(1)
	defer b.Release()
	fmt.Println(b)
}

func send(context.Context, []int) error { return nil }

func answer(_ context.Context, items []int) ([]batch.Result[int], error) {
	return make([]batch.Result[int], len(items)), nil
}
