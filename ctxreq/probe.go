package ctxreq

import (
	"context"
	"errors"
	"net/http"
	"runtime/metrics"
	"sync"
	"weak"
)

var errRetained = errors.New("ctxreq: the *http.Request is still reachable two garbage collections after its end; " +
	"find what references it with leakcheck.Track, and copy the strings that are needed")

// A probe finds requests that something still references after their end.
type probe struct {
	mu      sync.Mutex
	samples []sample
}

type sample struct {
	req   weak.Pointer[http.Request]
	info  Info
	cycle uint64 // of the collector, when the request ended
}

// maxSamples bounds the probe between two collections.
const maxSamples = 64

// watch takes a sample of the request that is about to end.
func (c *Config) watch(s *Scope, r *http.Request) {
	if !c.RetentionProbe {
		return
	}
	c.probe.check(c)
	info := s.Info()
	c.probe.mu.Lock()
	defer c.probe.mu.Unlock()
	if len(c.probe.samples) < maxSamples {
		c.probe.samples = append(c.probe.samples, sample{weak.Make(r), info, cycles()})
	}
}

// check reports the samples that two collections did not free, and removes the samples that it has
// checked.
func (p *probe) check(c *Config) {
	if !c.RetentionProbe {
		return
	}
	now := cycles()
	var retained []Info
	p.mu.Lock()
	waiting := p.samples[:0]
	for _, s := range p.samples {
		switch {
		case s.req.Value() == nil:
		case now < s.cycle+2:
			waiting = append(waiting, s)
		default:
			retained = append(retained, s.info)
		}
	}
	clear(p.samples[len(waiting):])
	p.samples = waiting
	p.mu.Unlock()
	for _, info := range retained {
		c.deliver(context.Background(), &Report{Kind: KindRetained, Err: errRetained, Info: info})
	}
}

func cycles() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
