package zoo

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"io"
	"log"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// silent is what a control must not set off.
var (
	silent       = []Find{{By: Check}, {By: Objects}}
	silentGrowth = []Find{{By: Objects}}
)

var controls = []Case{
	{
		Name:  "time_after_in_loop",
		Issue: "https://github.com/go-mysql-org/go-mysql/issues/423",
		Cure:  "none needed since Go 1.23",
		Finds: silent, Fixed: timeAfter,
	},
	{
		Name:  "unreferenced_ticker",
		Issue: "https://github.com/dominikh/go-staticcheck/issues/68",
		Cure:  "none needed since Go 1.23",
		Finds: silent, Fixed: unreferencedTicker,
	},
	{
		Name:  "warm_bounded_cache",
		Issue: "https://github.com/hashicorp/golang-lru/issues/107",
		Cure:  "full before the first operation",
		Finds: silent, Fixed: warmCache,
	},
	{
		Name:  "lru_filling_late",
		Issue: "https://github.com/mailgun/groupcache/pull/79",
		Cure:  "bounded, and full after a while",
		Finds: silent, Fixed: lruFilling,
	},
	{
		Name:  "once_filled_cache",
		Issue: "https://github.com/go-playground/validator/issues/55",
		Cure:  "one entry for each of a few types",
		Finds: silent, Fixed: onceFilledCache,
	},
	{
		Name:  "ring",
		Issue: "https://github.com/docker/model-runner/pull/110",
		Cure:  "overwrites the oldest",
		Finds: silent, Fixed: ring,
	},
	{
		Name:  "batch_flushed_when_full",
		Issue: "https://github.com/segmentio/analytics-go/issues/68",
		Cure:  "emptied whenever it holds 79",
		Finds: silent, Fixed: batchFlushed,
	},
	{
		Name:  "rolling_window",
		Issue: "https://github.com/sony/gobreaker/pull/95",
		Cure:  "a bucket for each 100 ms of the last 10 s",
		Finds: silent, Fixed: rollingWindow,
	},
	{
		Name:  "gc_churn",
		Issue: "https://github.com/golang/go/issues/38663",
		Cure:  "garbage is collected",
		Finds: silent, Fixed: churn,
	},
	{
		Name:  "lazy_singleton",
		Issue: "https://github.com/cloudwan/gohan/pull/721",
		Cure:  "allocated once, late",
		Finds: silent, Fixed: lazySingleton,
	},
	{
		Name:  "dropped_file",
		Issue: "https://github.com/shirou/gopsutil/issues/321",
		Cure:  "closed by the collector",
		Finds: silentGrowth, Fixed: droppedFile, Iterations: few,
	},
	{
		Name:  "long_lived_worker",
		Issue: "https://github.com/cockroachdb/cockroach/pull/28565",
		Cure:  "started before the baseline",
		Finds: silentGrowth, Fixed: longLivedWorker,
	},
	{
		Name:  "mixed_sync_pool",
		Issue: "https://github.com/json-iterator/go/issues/482",
		Cure:  "emptied by two collections",
		Finds: silent, Fixed: mixedPool,
	},
	{
		Name:  "http_keep_alive",
		Issue: "https://github.com/fortytw2/leaktest/issues/28",
		Cure:  "an idle connection of the default transport",
		Finds: silent, Fixed: keepAlive, Iterations: few,
	},
	{
		Name:  "log_buffering",
		Issue: "https://github.com/uber-go/zap/pull/376",
		Cure:  "flushed when full",
		Finds: silent, Fixed: logBuffer,
	},
	{
		Name:  "map_fills_and_empties",
		Issue: "https://github.com/jellydator/ttlcache/issues/84",
		Cure:  "room is used again",
		Finds: silent, Fixed: churningMap,
	},
	{
		Name:  "regexp_and_json_caches",
		Issue: "https://github.com/cinar/checker/issues/242",
		Cure:  "one entry for each type",
		Finds: silent, Fixed: regexpAndJSON,
	},
	{
		Name:  "template_execution",
		Issue: "https://github.com/golang/go/issues/17019",
		Cure:  "no template is added since Go 1.8",
		Finds: silent, Fixed: executeTemplate,
	},
}

func timeAfter(*Env) func() {
	done := make(chan struct{})
	close(done)
	return func() {
		select {
		case <-time.After(time.Hour):
		case <-done:
		}
	}
}

func unreferencedTicker(*Env) func() {
	return func() { time.NewTicker(time.Hour) }
}

func warmCache(*Env) func() {
	const size = 128
	c := make(map[int]*Object, size)
	for i := range size {
		c[i] = new(Object)
	}
	n := 0
	return func() {
		n++
		c[n%size] = &Object{ID: n}
	}
}

func lruFilling(*Env) func() {
	c, n := newLRU(400), 0
	return func() {
		n++
		c.put(strconv.Itoa(n), &Object{ID: n})
	}
}

func onceFilledCache(*Env) func() {
	c, n := map[int]*Object{}, 0
	return func() {
		n++
		if kind := n % 10; c[kind] == nil {
			c[kind] = new(Object)
		}
	}
}

func ring(*Env) func() {
	var last [64]*Object
	n := 0
	return func() {
		n++
		last[n%len(last)] = &Object{ID: n}
	}
}

func batchFlushed(*Env) func() {
	const full = 79
	batch := make([]*Object, 0, full)
	return func() {
		if batch = append(batch, new(Object)); len(batch) == full {
			clear(batch)
			batch = batch[:0]
		}
	}
}

func rollingWindow(*Env) func() {
	const width, buckets = 100 * time.Millisecond, 100
	window := map[int64]*Object{}
	return func() {
		now := time.Now().UnixNano() / int64(width)
		if window[now] == nil {
			window[now] = new(Object)
		}
		for k := range window {
			if k < now-buckets {
				delete(window, k)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func churn(*Env) func() {
	return func() {
		for range 100 {
			use(new(Object))
		}
	}
}

func lazySingleton(*Env) func() {
	var once sync.Once
	var table []*Object
	n := 0
	return func() {
		if n++; n < 700 {
			return
		}
		once.Do(func() {
			for range 1000 {
				table = append(table, new(Object))
			}
		})
	}
}

func droppedFile(env *Env) func() {
	name := page(env)
	return func() { open(env, name) }
}

func longLivedWorker(env *Env) func() {
	jobs, done := make(chan *Object), make(chan int)
	go func() {
		defer close(done)
		for o := range jobs {
			done <- o.ID
		}
	}()
	env.Cleanup(func() { close(jobs); <-done })
	return func() {
		jobs <- new(Object)
		<-done
	}
}

func mixedPool(*Env) func() {
	pool := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	n := 0
	return func() {
		n++
		a, b := pool.Get().(*bytes.Buffer), pool.Get().(*bytes.Buffer)
		a.Grow(64 << (n % 8))
		b.Grow(64)
		pool.Put(a)
		pool.Put(b)
	}
}

func keepAlive(env *Env) func() {
	return func() {
		resp, err := get(context.Background(), http.DefaultClient, env.URL)
		drain(env, resp, err)
	}
}

func logBuffer(*Env) func() {
	var buf bytes.Buffer
	l := log.New(&buf, "", log.LstdFlags)
	return func() {
		l.Print("something happened")
		if buf.Len() > 4096 {
			buf.Reset()
		}
	}
}

func churningMap(*Env) func() {
	m, n := map[int]*Object{}, 0
	return func() {
		n++
		m[n] = &Object{ID: n}
		if len(m) == 30 {
			clear(m)
		}
	}
}

func regexpAndJSON(env *Env) func() {
	return func() {
		re := regexp.MustCompile(`^\d+$`)
		b, err := json.Marshal(&Object{ID: 1})
		if err != nil || re.Match(b) {
			env.Error("the caches gave a wrong answer")
		}
	}
}

func executeTemplate(env *Env) func() {
	t := template.Must(template.New("page").Parse(`<title>{{block "title" .}}{{.ID}}{{end}}</title>`))
	return func() {
		if err := t.Execute(io.Discard, Object{ID: 1}); err != nil {
			env.Error(err)
		}
	}
}
