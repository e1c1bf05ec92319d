package percall

import (
	"context"
	"net/http"
	"sync"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/mapper"
	"github.com/leaksafe/leaksafe/pool"
)

type row struct{ A int }
type dto struct{ A int }

var rows = mapper.Must[row, dto]()

// Wrong.

func convert(ctx context.Context, r row) (dto, error) {
	m, err := mapper.New[row, dto]() // want `a Mapper is compiled on every call of convert; make it once, in a variable of the package`
	if err != nil {
		return dto{}, err
	}
	return m.Map(r)
}

func show(w http.ResponseWriter, r *http.Request) {
	d, err := mapper.Must[row, dto]().Map(row{}) // want `a Mapper is compiled for every request; make it once, in a variable of the package or a field of the server`
	_, _ = d, err
}

func handle() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		buffers := pool.NewBytes(pool.Options{}) // want `a Bytes, which is empty and reuses nothing, is made for every request`
		b := buffers.Get(0)
		defer b.Release()
		w.Write(b.Bytes())
	}
}

func save(w http.ResponseWriter, r *http.Request) {
	b, err := batch.New(batch.Options[row]{}, insert) // want `a Batcher, whose batches have one item, is made for every request`
	if err != nil {
		return
	}
	defer b.Close(r.Context())
	b.Add(r.Context(), row{})
}

func saveAll(ctx context.Context, all []row) {
	for _, r := range all {
		b, err := batch.New(batch.Options[row]{}, insert) // want `a Batcher, whose batches have one item, is made in every round of the loop; make it before the loop`
		if err != nil {
			return
		}
		b.Add(ctx, r)
		b.Close(ctx)
	}
}

func encode(n int) int {
	p := pool.New(func() *row { return new(row) }) // want `a Pool, which is empty and reuses nothing, is made on every call of encode`
	l := p.Get()
	defer l.Release()
	return l.Value().A + n
}

// Right.

func convertAll(list []row) ([]dto, error) { return rows.Slice(list) }

type server struct {
	rows    *mapper.Mapper[row, dto]
	buffers *pool.Bytes
}

func newServer() *server {
	return &server{rows: mapper.Must[row, dto](), buffers: pool.NewBytes(pool.Options{})}
}

func withOptions(size int) *pool.Bytes { return pool.NewBytes(pool.Options{}) }

var lazy = sync.OnceValue(func() *mapper.Mapper[row, dto] { return mapper.Must[row, dto]() })

func byOnce(once *sync.Once, s *server) {
	once.Do(func() { s.rows = mapper.Must[row, dto]() })
}

var cache sync.Map

func cached(w http.ResponseWriter, r *http.Request) {
	m := mapper.Must[row, dto]()
	cache.LoadOrStore(r.Host, m)
}

func runAll(ctx context.Context, all []row) error {
	b, err := batch.New(batch.Options[row]{}, insert)
	if err != nil {
		return err
	}
	for _, r := range all {
		b.Add(ctx, r)
	}
	return b.Close(ctx)
}

func main() {
	m := mapper.Must[row, dto]()
	m.Map(row{})
}

func startWorkers(n int) {
	m := mapper.Must[row, dto]()
	m.Map(row{n})
}

func insert(context.Context, []row) error { return nil }
