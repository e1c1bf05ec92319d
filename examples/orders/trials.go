package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// How much load there is: clients that each wait for their answer, and in the hang orders a second
// that do not wait for each other.
const (
	clients  = 16
	hangRate = 400
	kills    = 3
	rounds   = 8
)

// A comparison runs the trials.
type comparison struct {
	dir    string        // temporary; databases are below it
	length time.Duration // of one round of load
	hang   time.Duration
}

// folder makes a folder for one database.
func (c *comparison) folder() (string, error) { return os.MkdirTemp(c.dir, "db-") }

// start starts a service with a database of its own.
func (c *comparison) start(ctx context.Context, cfg config) (*child, error) {
	var err error
	if cfg.Dir, err = c.folder(); err != nil {
		return nil, err
	}
	return startChild(ctx, cfg)
}

// placed is an order that was answered with 201.
type placed struct {
	id  int64
	key string
}

// place sends orders, each client one after the other, until one is not answered with 201 or d is
// over.
func place(ctx context.Context, to *client, prefix string, d time.Duration) []placed {
	var mu sync.Mutex
	var all []placed
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for worker := range clients {
		wg.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				key := fmt.Sprintf("%s-%d-%d", prefix, worker, n)
				code, a, err := to.post(ctx, key, "")
				if err != nil || code != http.StatusCreated {
					return
				}
				mu.Lock()
				all = append(all, placed{a.ID, key})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

// A loss is what an end under load cost.
type loss struct{ acknowledged, missing, unsent int }

// endings ends a service under load, several times, and looks what is left after a restart.
func (c *comparison) endings(
	ctx context.Context, name string, end func(*child) error,
) (sum loss, err error) {
	for n := range kills {
		l, err := c.ending(ctx, name, fmt.Sprint("order-", n), end)
		if err != nil {
			return sum, err
		}
		sum.acknowledged += l.acknowledged
		sum.missing += l.missing
		sum.unsent += l.unsent
	}
	return sum, nil
}

func (c *comparison) ending(
	ctx context.Context, name, prefix string, end func(*child) error,
) (l loss, err error) {
	mail, err := openMailbox()
	if err != nil {
		return l, err
	}
	defer mail.close()
	cfg := config{Name: name, Mailer: mail.url}
	if cfg.Dir, err = c.folder(); err != nil {
		return l, err
	}
	s, err := startChild(ctx, cfg)
	if err != nil {
		return l, err
	}
	defer s.kill()
	to := newClient(s.url)
	defer to.close()
	all := make(chan []placed, 1)
	go func() { all <- place(ctx, to, prefix, time.Minute) }()
	if err := sleep(ctx, c.length); err != nil {
		return l, err
	}
	err = end(s)
	orders := <-all
	if err != nil {
		return l, err
	}
	l.acknowledged = len(orders)
	l.unsent = mail.missing(orders)
	l.missing, err = c.missing(ctx, config{Name: name, Dir: cfg.Dir}, orders)
	return l, err
}

// missing starts a service again and counts the orders that it does not have.
func (c *comparison) missing(ctx context.Context, cfg config, orders []placed) (n int, err error) {
	s, err := startChild(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer s.kill()
	to := newClient(s.url)
	defer to.close()
	for _, o := range orders {
		code, text, err := to.get(ctx, o.id)
		if err != nil {
			return 0, err
		}
		if code != http.StatusOK || !bytes.Contains(text, []byte(`"key":"`+o.key+`"`)) {
			n++
		}
	}
	return n, s.stop()
}

// A lateness is what late writes did to the answers of other clients.
type lateness struct {
	slow, checked, corrupted, refused int
	died                              bool
}

// lateWrites has half of the clients call the handler with the planted fault, and the others check
// every byte of their answers.
func (c *comparison) lateWrites(ctx context.Context, name string) (l lateness, err error) {
	s, err := c.start(ctx, config{Name: name, Late: true})
	if err != nil {
		return l, err
	}
	defer s.kill()
	to := newClient(s.url)
	defer to.close()
	_, a, err := to.post(ctx, "checked", strings.Repeat("n", 100))
	if err != nil {
		return l, err
	}
	_, want, err := to.get(ctx, a.ID)
	if err != nil {
		return l, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(2 * c.length)
	for worker := range clients {
		wg.Go(func() {
			for time.Now().Before(end) && !s.died() {
				ok, slow := true, worker%2 == 0
				if slow {
					code, text, err := to.do(ctx, "GET", "/slow", nil)
					ok = err == nil && code == http.StatusOK && string(text) == slowText
				} else {
					code, text, err := to.get(ctx, a.ID)
					ok = err == nil && code == http.StatusOK && bytes.Equal(text, want)
				}
				mu.Lock()
				l.add(slow, ok)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l.died = s.died(); l.died {
		return l, ctx.Err()
	}
	u, err := s.usage()
	l.refused = u.Refused
	return l, err
}

func (l *lateness) add(slow, ok bool) {
	l.checked++
	if slow {
		l.slow++
	}
	if !ok {
		l.corrupted++
	}
}

// A stall is what happened while inserts hung.
type stall struct {
	usage
	codes   map[string]int
	slowest time.Duration
	// recovered is how long after the end of the hang an order that was sent after it was answered
	// with 201; negative if none was.
	recovered time.Duration
}

// answer is what came for one order.
type answer struct {
	sent, done time.Time
	code       int // 0: no answer
}

// stalls makes inserts hang, while orders arrive that do not wait for each other.
func (c *comparison) stalls(ctx context.Context, name string) (stall, error) {
	s, err := c.start(ctx, config{Name: name})
	if err != nil {
		return stall{}, err
	}
	defer s.kill()
	to := newClient(s.url)
	defer to.close()
	place(ctx, to, "warm", c.length)
	if _, err := s.usage(); err != nil { // peaks begin here
		return stall{}, err
	}
	if err := s.hang(c.hang); err != nil {
		return stall{}, err
	}
	end := time.Now().Add(c.hang)
	answers, err := arrive(ctx, to, end.Add(c.length))
	if err != nil {
		return stall{}, err
	}
	r := summarise(answers, end)
	r.usage, err = s.usage()
	return r, err
}

func summarise(answers []answer, end time.Time) stall {
	r := stall{codes: map[string]int{}, recovered: -1}
	for _, a := range answers {
		word := fmt.Sprint(a.code)
		if a.code == 0 {
			word = "none"
		}
		r.codes[word]++
		r.slowest = max(r.slowest, a.done.Sub(a.sent))
		if a.code != http.StatusCreated || a.sent.Before(end) {
			continue
		}
		if after := a.done.Sub(end); r.recovered < 0 || after < r.recovered {
			r.recovered = after
		}
	}
	return r
}

// arrive sends orders at a constant rate until end, and returns when all are answered.
func arrive(ctx context.Context, to *client, end time.Time) ([]answer, error) {
	note := strings.Repeat("n", 4<<10)
	var mu sync.Mutex
	var all []answer
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / hangRate)
	defer tick.Stop()
	for n := 0; time.Now().Before(end) && ctx.Err() == nil; n++ {
		wg.Go(func() {
			a := answer{sent: time.Now()}
			code, _, err := to.post(ctx, fmt.Sprint("hang-", n), note)
			if err == nil {
				a.code = code
			}
			a.done = time.Now()
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		})
		<-tick.C
	}
	wg.Wait()
	return all, ctx.Err()
}

// A speed is what a service did in the rounds, both services being alive.
type speed struct {
	perSecond     []float64
	requests      int // warming up included
	allocs, bytes uint64
	processor     time.Duration // of the whole process, its start included
}

// speeds measures the services in turns, so that what else the machine does meets both.
func (c *comparison) speeds(ctx context.Context) (map[string]*speed, error) {
	results := map[string]*speed{}
	services := map[string]*child{}
	for _, name := range names {
		s, err := c.start(ctx, config{Name: name})
		if err != nil {
			return nil, err
		}
		defer s.kill()
		services[name], results[name] = s, new(speed)
	}
	for round := -1; round < rounds; round++ { // the first is for warming up
		turn := slices.Clone(names)
		if round%2 == 0 {
			slices.Reverse(turn)
		}
		for _, name := range turn {
			prefix := fmt.Sprint("round-", round)
			if err := results[name].round(ctx, services[name], prefix, c.length); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range names {
		r, s := results[name], services[name]
		r.perSecond = r.perSecond[1:]
		if err := s.stop(); err != nil {
			return nil, err
		}
		r.processor = s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	}
	return results, nil
}

// round has clients order and read what they ordered.
func (s *speed) round(ctx context.Context, ch *child, prefix string, d time.Duration) error {
	to := newClient(ch.url)
	defer to.close()
	before, err := ch.usage()
	if err != nil {
		return err
	}
	began := time.Now()
	var mu sync.Mutex
	var failed error
	n := 0
	var wg sync.WaitGroup
	for worker := range clients {
		wg.Go(func() {
			done, err := orderAndRead(ctx, to, fmt.Sprint(prefix, "-", worker), began.Add(d))
			mu.Lock()
			defer mu.Unlock()
			n += done
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	took := time.Since(began)
	after, err := ch.usage()
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	s.perSecond = append(s.perSecond, float64(n)/took.Seconds())
	s.requests += n
	s.allocs += after.Allocs - before.Allocs
	s.bytes += after.Bytes - before.Bytes
	return nil
}

func orderAndRead(ctx context.Context, to *client, prefix string, end time.Time) (n int, _ error) {
	for ; time.Now().Before(end); n += 2 {
		code, a, err := to.post(ctx, fmt.Sprint(prefix, "-", n), "")
		if err != nil || code != http.StatusCreated {
			return n, fmt.Errorf("POST was answered with %d: %w", code, err)
		}
		code, _, err = to.get(ctx, a.ID)
		if err != nil || code != http.StatusOK {
			return n, fmt.Errorf("GET was answered with %d: %w", code, err)
		}
	}
	return n, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
