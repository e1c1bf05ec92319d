package zoo

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// few is for operations that take a connection or a descriptor each.
const few = 4

var beyond = []Case{
	{
		Name:  "http_body_unclosed",
		Issue: "https://github.com/hetznercloud/hcloud-go/issues/68",
		Cure:  "read to the end and Close",
		Finds: []Find{{Check, "http.(*persistConn)"}, {Goroutines, "zoo.get"}},
		Leak:  bodyUnclosed, Fixed: bodyClosed, Iterations: few,
	},
	{
		Name:  "transport_per_request",
		Issue: "https://github.com/choria-io/go-choria/issues/198",
		Cure:  "one shared transport",
		Finds: []Find{{Check, "http.(*persistConn)"}, {Objects, "zoo.transportPerRequest"}},
		Leak:  transportPerRequest, Fixed: transportShared, Iterations: few,
	},
	{
		Name:  "slow_downstream_no_timeout",
		Issue: "https://github.com/honeycombio/libhoney-go/pull/34",
		Cure:  "a deadline",
		Finds: stuck("zoo.slowNoTimeout"),
		Leak:  slowNoTimeout, Fixed: slowDeadline, Iterations: few,
	},
	{
		Name:  "decoder_pooled_unclosed",
		Issue: "https://github.com/segmentio/kafka-go/pull/446",
		Cure:  "Close what the pool drops",
		Finds: stuck("zoo.newDecoder"),
		Leak:  decoderDropped, Fixed: decoderClosed,
	},
	{
		Name:  "fd_unclosed",
		Issue: "https://github.com/mstruebing/tldr/issues/22",
		Cure:  "Close in each iteration",
		Finds: []Find{{Check, "page.md"}, {Files, "zoo.open"}},
		Leak:  filesHeld, Fixed: filesClosed, Iterations: few,
	},
}

func get(ctx context.Context, c *http.Client, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

// drain reads an answer to its end, so that its connection can serve again.
func drain(env *Env, resp *http.Response, err error) {
	if err != nil {
		env.Error(err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		env.Error(err)
	}
}

// newClient returns a client whose idle connections end with the test.
func newClient(env *Env) *http.Client {
	c := &http.Client{Transport: &http.Transport{}}
	env.Cleanup(c.CloseIdleConnections)
	return c
}

func bodyUnclosed(env *Env) func() {
	c := newClient(env)
	return func() {
		resp, err := get(context.Background(), c, env.URL)
		if err != nil {
			env.Error(err)
			return
		}
		use(resp.StatusCode)
	}
}

func bodyClosed(env *Env) func() {
	c := newClient(env)
	return func() {
		resp, err := get(context.Background(), c, env.URL)
		drain(env, resp, err)
	}
}

func transportPerRequest(env *Env) func() {
	return func() {
		c := &http.Client{Transport: &http.Transport{}}
		resp, err := get(context.Background(), c, env.URL)
		drain(env, resp, err)
	}
}

func transportShared(env *Env) func() {
	c := newClient(env)
	return func() {
		resp, err := get(context.Background(), c, env.URL)
		drain(env, resp, err)
	}
}

func slowNoTimeout(env *Env) func() {
	c := newClient(env)
	return func() {
		go func() {
			resp, err := get(context.Background(), c, env.URL+"/slow")
			drain(env, resp, err)
		}()
	}
}

func slowDeadline(env *Env) func() {
	c := newClient(env)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if resp, err := get(ctx, c, env.URL+"/slow"); err == nil {
			resp.Body.Close()
			env.Error("the slow server answered")
		}
	}
}

// A decoder decodes in a goroutine of its own until it is closed.
type decoder struct{ in chan []byte }

func newDecoder() *decoder {
	d := &decoder{make(chan []byte)}
	go func() {
		for b := range d.in {
			use(b)
		}
	}()
	return d
}

func (d *decoder) decode(b []byte) { d.in <- b }

func (d *decoder) Close() { close(d.in) }

// A decoderPool keeps a few decoders and drops the others.
type decoderPool struct {
	free chan *decoder
	drop func(*decoder)
}

func (p *decoderPool) get() *decoder {
	select {
	case d := <-p.free:
		return d
	default:
		return newDecoder()
	}
}

func (p *decoderPool) put(d *decoder) {
	select {
	case p.free <- d:
	default:
		p.drop(d)
	}
}

// busy is a moment with more decoders in use than the pool keeps.
func (p *decoderPool) busy() {
	var inUse []*decoder
	for range cap(p.free) + 1 {
		d := p.get()
		d.decode(nil)
		inUse = append(inUse, d)
	}
	for _, d := range inUse {
		p.put(d)
	}
}

func (p *decoderPool) close() {
	for range len(p.free) {
		(<-p.free).Close()
	}
}

func decoders(env *Env, drop func(*decoder)) func() {
	p := &decoderPool{make(chan *decoder, 2), drop}
	env.Cleanup(p.close)
	return p.busy
}

func decoderDropped(env *Env) func() { return decoders(env, func(*decoder) {}) }

func decoderClosed(env *Env) func() { return decoders(env, (*decoder).Close) }

func page(env *Env) string {
	name := filepath.Join(env.TempDir(), "page.md")
	if err := os.WriteFile(name, []byte("# page\n"), 0o600); err != nil {
		env.Fatal(err)
	}
	return name
}

func open(env *Env, name string) *os.File {
	f, err := os.Open(name)
	if err != nil {
		env.Error(err)
	}
	return f
}

var pages []*os.File // as "defer f.Close()" in a loop holds them

func filesHeld(env *Env) func() {
	name := page(env)
	return func() { pages = append(pages, open(env, name)) }
}

func filesClosed(env *Env) func() {
	name := page(env)
	return func() {
		f := open(env, name)
		defer f.Close()
	}
}
