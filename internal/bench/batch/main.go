// Command batch measures package batch beside its peers: the cost of an item
// with 1 and 8 producers, of an item with a result of its own, of a call while
// there is no other, and a burst of 100,000 messages in front of a slow
// downstream.
//
//	go run -C internal/bench ./batch          the cost of an item
//	go run -C internal/bench ./batch -burst   the burst, one process a tool
package main

import (
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/leaksafe/leaksafe/internal/bench/side"
)

func main() {
	burst := flag.Bool("burst", false, "the burst instead of the cost of an item")
	one := flag.String("one", "", "the burst of this tool in this process")
	rounds := flag.Int("rounds", 15, "rounds of the cost of an item")
	flag.Parse()
	switch {
	case *one != "":
		report(*one)
	case *burst:
		bursts()
	default:
		costs(side.Options{Rounds: *rounds, Progress: side.Progress()})
	}
}

func costs(opt side.Options) {
	for _, producers := range []int{1, 8} {
		var cases []side.Case
		for _, t := range tools {
			if !t.burstOnly {
				cases = append(cases, t.adding(producers))
			}
		}
		side.Table(os.Stdout, fmt.Sprintf("an item, %d producers", producers), side.Compare(cases, opt))
		cases = nil
		for _, a := range askers {
			cases = append(cases, a.asking(producers))
		}
		side.Table(os.Stdout, fmt.Sprintf("an item with its result, %d producers", producers), side.Compare(cases, opt))
	}
	var cases []side.Case
	for _, a := range loners {
		cases = append(cases, a.alone())
	}
	side.Table(os.Stdout, "a call while there is no other", side.Compare(cases, opt))
}

// chunk is how many items a producer adds in a row; batches are full at full.
const (
	chunk = 64
	full  = 500
)

// adding adds n items from each of this many producers, drains, and counts.
func (t tool) adding(producers int) side.Case {
	msgs := make([]*msg, chunk)
	for i := range msgs {
		msgs[i] = newMsg(16)
	}
	return side.Case{Name: t.name, Run: func(n int) {
		d := &downstream{}
		add, end := t.open(d)
		n = (n/(chunk*producers) + 1) * chunk
		var wg sync.WaitGroup
		for range producers {
			wg.Go(func() {
				for range n / chunk {
					add(msgs)
				}
			})
		}
		wg.Wait()
		end()
		if got := int(d.delivered.Load()); got != n*producers {
			panic(fmt.Sprintf("%s: %d of %d items delivered", t.name, got, n*producers))
		}
	}}
}

// asking asks for n results from each of this many producers, a full batch at a time.
func (a asker) asking(producers int) side.Case {
	return side.Case{Name: a.name, Run: func(n int) {
		ask, end := a.open()
		var wg sync.WaitGroup
		for range producers {
			wg.Go(func() {
				for range n/(full*producers) + 1 {
					ask()
				}
			})
		}
		wg.Wait()
		end()
	}}
}

// alone asks n times, one after the other.
func (a asker) alone() side.Case {
	return side.Case{Name: a.name, Run: func(n int) {
		ask, end := a.open()
		for range n {
			ask()
		}
		end()
	}}
}
