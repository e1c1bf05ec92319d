package mapper_test

import (
	"fmt"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/mapper"
)

// A Chain consists of pointers, each of which must survive the collector.
type Chain struct {
	Name  string
	Next  *Chain
	Words []string
	Byte  byte
	By    map[string]*Chain
	Any   any
	Pairs [2]struct{ P, Q *string }
}

// ChainDTO has the same in another order and other forms.
type ChainDTO struct {
	Byte  byte
	Any   any
	Pairs []struct{ Q, P *string }
	By    map[string]ChainDTO
	Words []string
	Next  *ChainDTO
	Name  *string
}

func newChain(n, seed int) *Chain {
	if n == 0 {
		return nil
	}
	name := func(s string) string { return fmt.Sprint(s, n, "-", seed) }
	c := &Chain{Name: name("name"), Next: newChain(n-1, seed), Words: []string{name("w"), name("v")}, Byte: byte(seed), By: map[string]*Chain{name("k"): newChain(n/3, seed)}, Any: []any{name("any"), &Point{n, seed}}}
	for i := range c.Pairs {
		c.Pairs[i].P, c.Pairs[i].Q = ref(name("p")), ref(name("q"))
	}
	return c
}

func (d *ChainDTO) check(n, seed int) string {
	if n == 0 {
		if d != nil && d.Name != nil && *d.Name != "" {
			return "not nil"
		}
		return ""
	}
	name := func(s string) string { return fmt.Sprint(s, n, "-", seed) }
	held := d.Any.([]any)
	switch {
	case *d.Name != name("name"), d.Words[0] != name("w"), d.Words[1] != name("v"), d.Byte != byte(seed):
		return "names differ"
	case held[0] != name("any"), *held[1].(*Point) != Point{n, seed}:
		return "interfaces differ"
	case *d.Pairs[0].P != name("p"), *d.Pairs[1].Q != name("q"):
		return "pairs differ"
	}
	inner := d.By[name("k")]
	if s := inner.check(n/3, seed); s != "" {
		return s
	}
	return d.Next.check(n-1, seed)
}

// TestCollectorStress maps on many goroutines, on stacks that grow, while the collector runs all
// the time, and checks every string that was mapped.
func TestCollectorStress(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	rounds := 20
	if testgate.Long() {
		rounds = 2000
	}
	there, back := mapper.Must[Chain, ChainDTO](), mapper.Must[ChainDTO, Chain](mapper.Convert(func(p []struct{ Q, P *string }) (c [2]struct{ P, Q *string }, err error) {
		for i := range p {
			c[i].P, c[i].Q = p[i].P, p[i].Q
		}
		return c, nil
	}))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range rounds {
				d, err := there.Map(*newChain(6, g*rounds+i))
				if err != nil {
					t.Errorf("there: %v", err)
					return
				}
				c, err := back.Map(d)
				if err != nil {
					t.Errorf("back: %v", err)
					return
				}
				again, err := there.Slice([]Chain{c, c})
				if err != nil {
					t.Errorf("again: %v", err)
					return
				}
				for _, d := range append(again, d) {
					if s := d.check(6, g*rounds+i); s != "" {
						t.Errorf("round %d: %s", i, s)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestStackMovesAnywhere maps at every depth of a new stack, so that every call within Map that can
// move the stack does so once: what the executors know of the caller's stack must follow.
func TestStackMovesAnywhere(t *testing.T) {
	there := mapper.Must[Chain, ChainDTO]()
	src := *newChain(2, 7)
	for depth := range 600 {
		problem := make(chan string)
		go func() {
			problem <- mapBelow(depth, func() string {
				d, err := there.Map(src)
				if err != nil {
					return err.Error()
				}
				return d.check(2, 7)
			})
		}()
		require.Empty(t, <-problem, "depth %d", depth)
	}
}

// mapBelow calls f with some more frames on the stack.
//
//go:noinline
func mapBelow(frames int, f func() string) string {
	if frames == 0 {
		return f()
	}
	return mapBelow(frames-1, f)
}
