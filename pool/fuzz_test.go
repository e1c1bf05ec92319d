package pool_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

// FuzzNothingCrosses runs a program of leases on four goroutines, which also
// hand leases to each other. Each lease writes its own mark, and whatever is
// seen of it at any time must have that mark: its contents, slices from before
// it grew, what was cloned, detached and read of a Body. With zeroing all of
// its memory, beyond its length too, must be its own or zero.
func FuzzNothingCrosses(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 6 {
		program := make([]byte, 1000)
		for i := range program {
			program[i] = byte(r.Uint32())
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		for name, o := range map[string]pool.Options{
			"zero options":  {},
			"zeroing":       {ZeroOnRelease: true},
			"secret":        {Secret: true, MaxInUse: 1 << 30},
			"check":         {Level: pool.Check},
			"check secret":  {Level: pool.Check, Secret: true},
			"sample secret": {Level: pool.Sample, Secret: true},
			"little":        {MaxBuffer: 2000, MaxIdleBytes: 3000, ZeroOnRelease: true},
		} {
			require.NoError(t, newWorld(o).run(program), name)
		}
	})
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

// A copy is of bytes that outlive their lease.
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
		copies = append(copies, c)
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

const steps = 11

// step does one thing with the lease. It returns the lease to go on with, and
// what was copied.
func (w *world) step(x *tenant, op byte, arg int) (*tenant, ownCopy) {
	n := arg * arg / 5 // to 13 KB, mostly small
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
		x.b.Set(x.marked(n))
	case 4:
		x.b.Clear()
	case 5:
		size := len(x.b.Bytes())
		x.seen = append(x.seen, x.b.Slice(arg*size/256, size))
	case 6:
		size := len(x.b.Bytes())
		x.b.Update(x.marked(size-arg*size/256), arg*size/256)
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
	case 10:
		other := <-w.left
		w.left <- x
		return other, ownCopy{}
	}
	return x, ownCopy{}
}

// check returns an error if something is seen that is not the lease's own.
func (w *world) check(x *tenant, copies []ownCopy) error {
	if x.mark == 0 {
		return fmt.Errorf("a new lease shows earlier bytes")
	}
	zero := "\x00"
	if !w.zeroes {
		zero = ""
	}
	mine := string(rune(x.mark))
	switch {
	case len(bytes.Trim(x.b.Bytes(), mine)) > 0:
		return fmt.Errorf("the contents are not all the lease's")
	case w.zeroes && len(bytes.Trim(pool.Memory(x.b), mine+zero)) > 0:
		return fmt.Errorf("the memory has earlier bytes")
	}
	for _, s := range x.seen {
		if len(bytes.Trim(s, mine+zero)) > 0 {
			return fmt.Errorf("a slice of the lease has other bytes")
		}
	}
	for _, c := range copies {
		if len(bytes.Trim(c.data, string(rune(c.mark)))) > 0 {
			return fmt.Errorf("a copy of an earlier lease has other bytes")
		}
	}
	return nil
}
