package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/leaksafe/leaksafe/batch"
)

const (
	messages = 100_000
	kilobyte = 1 << 10
	delay    = 50 * time.Millisecond
	ideal    = messages / full / inFlight * delay
)

// A line is the result of one tool in the burst.
type line struct {
	Lost, Refused, InFlight, Left int64
	Peak                          uint64 // heap objects and stacks
	Took                          time.Duration
}

// bursts runs each tool in a process of its own, with GOGC=20.
func bursts() {
	fmt.Printf("%d messages of %d bytes at once, batches of %d, a downstream that takes %v and %d at a time (ideal %v), GOGC=20, %s, %d cores\n",
		messages, kilobyte, full, delay, inFlight, ideal, runtime.Version(), runtime.GOMAXPROCS(0))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tpeak memory\tlost\trefused\tmost in flight\tgoroutines left\ttime\tof ideal\t")
	for _, t := range append(tools[1:], crowds...) {
		l, err := run(t.name)
		if err != nil {
			fmt.Fprintf(w, "%s\t%v\t\n", t.name, err)
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f MB\t%d\t%d\t%d\t%d\t%.2f s\t%.2f\t\n", t.name, mb(l.Peak),
			l.Lost, l.Refused, l.InFlight, l.Left, l.Took.Seconds(), float64(l.Took)/float64(ideal))
	}
	w.Flush()
}

func mb(n uint64) float64 { return float64(n) / 1e6 }

func run(name string) (l line, err error) {
	cmd := exec.Command(os.Args[0], "-one", name)
	cmd.Env = append(os.Environ(), "GOGC=20")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &l)
	}
	return l, err
}

// report runs the burst of one tool here, and writes its line.
func report(name string) {
	for _, t := range append(tools, crowds...) {
		if t.name != name {
			continue
		}
		before := runtime.NumGoroutine()
		stop := watch()
		d := &downstream{delay: delay}
		start := time.Now()
		add, end := t.open(d)
		one := make([]*msg, 1)
		for range messages {
			if t.makesOwn {
				runtime.Gosched() // lets the caller run until it blocks
			} else {
				one[0] = newMsg(kilobyte)
			}
			add(one)
		}
		end()
		l := line{Took: time.Since(start), InFlight: d.mostAtOnce.Load(), Refused: refused.Load()}
		l.Lost = messages - d.delivered.Load() - l.Refused
		l.Peak = stop()
		l.Left = int64(runtime.NumGoroutine() - before)
		check(json.NewEncoder(os.Stdout).Encode(l))
		return
	}
	panic("no tool " + name)
}

// watch samples the heap and the stacks every millisecond until it is stopped.
func watch() (stop func() (peak uint64)) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	var peak uint64
	done, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			metrics.Read(samples)
			peak = max(peak, samples[0].Value.Uint64()+samples[1].Value.Uint64())
			select {
			case <-quit:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(quit)
		<-done
		return peak
	}
}

// crowds send the same messages from 100,000 callers at once. Each caller blocks until its message
// is admitted, or is told that too many callers wait.
var crowds = []tool{
	{name: "100,000 callers, MaxWaiters 1000", burstOnly: true, makesOwn: true, open: func(d *downstream) (func([]*msg), func()) { return crowd(d, 1000) }},
	{name: "100,000 callers, as many waiters", burstOnly: true, makesOwn: true, open: func(d *downstream) (func([]*msg), func()) { return crowd(d, messages) }},
}

var refused atomic.Int64

func crowd(d *downstream, waiters int) (func([]*msg), func()) {
	b, err := batch.New(batch.Options[*msg]{
		MaxItems: full, Linger: linger, InFlight: inFlight, MaxWaiters: waiters, PendingItems: messages,
		PendingBytes: 5 << 20, SizeOf: size,
	}, func(_ context.Context, ms []*msg) error {
		d.send(len(ms))
		return nil
	})
	check(err)
	var wg sync.WaitGroup
	return func([]*msg) {
			wg.Go(func() {
				if err := b.Add(context.Background(), newMsg(kilobyte)); errors.Is(err, batch.ErrFull) {
					refused.Add(1)
				} else {
					check(err)
				}
			})
		}, func() {
			wg.Wait()
			check(b.Close(context.Background()))
		}
}
