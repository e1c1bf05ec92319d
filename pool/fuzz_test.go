package pool_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// FuzzNothingCrosses runs a program of leases on four goroutines, which also
// hand leases to each other. Each lease writes its own mark, and whatever is
// seen of it at any time must have that mark: its contents, slices from before
// it grew, what was cloned, detached and read of a Body. With zeroing all of
// its memory, beyond its length too, must be its own or zero.
//
// The program's first byte chooses the pool's options.
func FuzzNothingCrosses(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2 * len(worlds) {
		f.Add(append([]byte{byte(i)}, randomProgram(r)...))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 0 {
			require.NoError(t, newWorld(worlds[int(program[0])%len(worlds)]).run(program[1:]))
		}
	})
}

// TestNothingCrossesForLong runs many random programs. A fuzzer follows the coverage of one
// goroutine, so it does not find them. Under -race they take four minutes of one processor.
func TestNothingCrossesForLong(t *testing.T) {
	testgate.Minutes(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 10_000 {
		require.NoError(t, newWorld(worlds[i%len(worlds)]).run(randomProgram(r)), "program %d of seed %d", i, seed)
	}
}

var worlds = []pool.Options{
	{},
	{ZeroOnRelease: true},
	{Secret: true, MaxInUse: 1 << 30},
	{Level: pool.LevelCheck},
	{Level: pool.LevelCheck, Secret: true},
	{Level: pool.LevelSample, Secret: true},
	{MaxBuffer: 2000, MaxIdleBytes: 3000, ZeroOnRelease: true},
}

func randomProgram(r *rand.Rand) []byte {
	program := make([]byte, 600)
	for i := range program {
		program[i] = byte(r.Uint32())
	}
	return program
}

// A world is a pool and, in left, a lease that any goroutine may take over.
type world struct {
	pool   *pool.Bytes
	zeroes bool
	marks  atomic.Uint32
	left   chan *tenant
}

func newWorld(o pool.Options) *world {
	return &world{pool: pool.NewBytes(o), zeroes: o.ZeroOnRelease || o.Secret, left: make(chan *tenant, 1)}
}

// A tenant is a lease, its mark, and what was seen of it.
type tenant struct {
	b    pool.Buffer
	mark byte
	seen [][]byte
}

// An ownCopy is of bytes that outlive their lease.
type ownCopy struct {
	mark byte
	data []byte
}

func (w *world) run(program []byte) error {
	const goroutines = 4
	w.left <- w.rent(1)
	failures := make(chan error, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			if err := w.walk(program, 2*g, 2*goroutines); err != nil {
				failures <- err
			}
		})
	}
	all.Wait()
	close(failures)
	return <-failures
}

// walk does every stride'th step of the program.
func (w *world) walk(program []byte, from, stride int) error {
	x := w.rent(100)
	var copies []ownCopy
	for i := from; i+1 < len(program); i += stride {
		var c ownCopy
		x, c = w.step(x, program[i], int(program[i+1]))
		copies = append(copies[max(0, len(copies)-8):], c)
		if err := w.check(x, copies); err != nil {
			return fmt.Errorf("after step %d, %d of %d: %w", i, program[i]%steps, program[i+1], err)
		}
	}
	x.b.Release()
	return nil
}

// rent leases n bytes, and marks them if nothing of another is there.
func (w *world) rent(n int) *tenant {
	x := &tenant{b: w.pool.Get(n), mark: byte(w.marks.Add(1)%120 + 1)}
	if w.zeroes && !allZero(pool.Memory(x.b)) {
		x.mark = 0 // and check will fail
		return x
	}
	copy(x.b.Bytes(), x.marked(n))
	return x
}

// marked returns n bytes with the mark.
func (x *tenant) marked(n int) []byte { return bytes.Repeat([]byte{x.mark}, n) }

const steps = 14

// step does one thing with the lease. It returns the lease to go on with, and
// what was copied.
func (w *world) step(x *tenant, op byte, arg int) (*tenant, ownCopy) {
	n := arg * arg / 10 // to 6.5 KB, mostly small
	switch op % steps {
	case 0:
		x.b.Release()
		x.b.Release()
		return w.rent(n), ownCopy{}
	case 1:
		x.b.Writer().Write(x.marked(n))
	case 2:
		x.b.Writer().ReadFrom(bytes.NewReader(x.marked(n)))
	case 3:
		set(x.b, x.marked(n))
	case 4:
		x.b.Reset()
	case 5:
		size := len(x.b.Bytes())
		x.seen = append(x.seen[max(0, len(x.seen)-8):], x.b.Slice(arg*size/256, size))
	case 6:
		size := len(x.b.Bytes())
		copy(x.b.Bytes()[arg*size/256:], x.marked(size))
	case 7:
		return x, ownCopy{x.mark, x.b.Clone()}
	case 8:
		return w.rent(n), ownCopy{x.mark, x.b.Detach()}
	case 9:
		body, got := x.b.Body(), make([]byte, n)
		x.b.Release()
		size, _ := body.Read(got)
		body.Close()
		return w.rent(n), ownCopy{x.mark, got[:size]}
	case 11:
		c := x.b.Retain()
		x.b.Release() // the other has the memory now, and may not write
		data := c.Clone()
		c.Release()
		return w.rent(n), ownCopy{x.mark, data}
	case 12:
		s := w.pool.Slices(n + 1)
		lent := s.Get()
		data, err := w.lent(lent)
		s.Put(lent)
		s.Put(make([]byte, n+1))
		if err {
			x.mark = 0
		}
		return x, data
	case 13:
		q := w.pool.Pointers()
		lent := q.Get(n)
		data, err := w.lent(*lent)
		q.Put(lent)
		if err {
			x.mark = 0
		}
		return x, data
	case 10:
		other := <-w.left
		w.left <- x
		return other, ownCopy{}
	}
	return x, ownCopy{}
}

// lent marks a slice, lets others run, and says whether it shows bytes of others.
func (w *world) lent(s []byte) (ownCopy, bool) {
	mark := byte(w.marks.Add(1)%120 + 1)
	if w.zeroes && !allZero(s[:cap(s)]) {
		return ownCopy{}, true
	}
	copy(s, bytes.Repeat([]byte{mark}, len(s)))
	runtime.Gosched()
	return ownCopy{mark, append([]byte{}, s...)}, !only(s, mark, mark)
}

// check returns an error if something is seen that is not the lease's own.
func (w *world) check(x *tenant, copies []ownCopy) error {
	if x.mark == 0 {
		return fmt.Errorf("a new lease or a lent slice shows bytes of another")
	}
	zero := byte(0)
	if !w.zeroes {
		zero = x.mark
	}
	switch {
	case !only(x.b.Bytes(), x.mark, x.mark):
		return fmt.Errorf("the contents are not all the lease's")
	case w.zeroes && !only(pool.Memory(x.b), x.mark, zero):
		return fmt.Errorf("the memory has earlier bytes")
	}
	for _, s := range x.seen {
		if !only(s, x.mark, zero) {
			return fmt.Errorf("a slice of the lease has other bytes")
		}
	}
	for _, c := range copies {
		if !only(c.data, c.mark, c.mark) {
			return fmt.Errorf("a copy of an earlier lease has other bytes")
		}
	}
	return nil
}

// only says whether all of data is a or b. The copy is one call of the race detector; a loop over
// data is one for each byte.
func only(data []byte, a, b byte) bool {
	data = append([]byte{}, data...)
	n := bytes.Count(data, []byte{a})
	if b != a {
		n += bytes.Count(data, []byte{b})
	}
	return n == len(data)
}
