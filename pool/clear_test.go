package pool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

// clearing are the options that promise zeros, on every path.
var clearing = map[string]pool.Options{
	"zeroing":          {ZeroOnRelease: true},
	"secret":           {Secret: true},
	"secret, budget":   {Secret: true, MaxInUse: 1 << 30},
	"zeroing, checked": {ZeroOnRelease: true, Level: pool.LevelCheck},
	"secret, checked":  {Secret: true, Level: pool.LevelCheck},
	"secret, sampled":  {Secret: true, Level: pool.LevelSample},
	"keeps little":     {ZeroOnRelease: true, MaxBuffer: 1000, MaxIdleBytes: 4096},
}

const secretByte = 's'

// A scribbler is a Reader that uses all of p as scratch space, as io.Reader allows, and returns a
// part of it.
type scribbler struct {
	parts []int // how much each Read returns
	err   error // at the end
}

func (s *scribbler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = secretByte
	}
	if len(s.parts) == 0 {
		return 0, s.err
	}
	n := min(s.parts[0], len(p))
	s.parts = s.parts[1:]
	return n, nil
}

// notZero returns how many bytes are not zero.
func notZero(b []byte) int { return len(b) - bytes.Count(b, []byte{0}) }

// leftovers returns how many bytes of all memory that the pool lends are not zero.
func leftovers(p *pool.Bytes) (n int) {
	var held []pool.Buffer
	for size := 256; size <= 32<<10; size *= 2 {
		for range 2 {
			b := p.Get(size)
			held = append(held, b)
			n += notZero(pool.Memory(b))
		}
	}
	for _, b := range held {
		b.Release()
	}
	return n
}

func TestWhatAReaderScribbledIsCleared(t *testing.T) {
	ways := map[string]func(p *pool.Bytes){
		"ReadAll": func(p *pool.Bytes) {
			b, err := p.ReadAll(&scribbler{parts: []int{7}, err: io.EOF}, 0)
			require.NoError(t, err)
			require.Equal(t, 7, b.Len())
			b.Release()
		},
		"ReadAll that fails": func(p *pool.Bytes) {
			_, err := p.ReadAll(&scribbler{err: errors.New("bad signature")}, 5000)
			require.Error(t, err)
		},
		"ReadAll of a Reader that panics": func(p *pool.Bytes) {
			require.Panics(t, func() {
				p.ReadAll(readerFunc(func(room []byte) (int, error) {
					(&scribbler{}).Read(room)
					panic("the reader's own")
				}), 300)
			})
		},
		"ReadFrom": func(p *pool.Bytes) {
			b := p.Get(0)
			b.Writer().ReadFrom(&scribbler{parts: []int{3, 0, 100}, err: io.EOF})
			b.Release()
		},
		"growth behind it": func(p *pool.Bytes) {
			b := p.Get(0)
			b.ReadFrom(&scribbler{parts: []int{3}, err: io.EOF})
			b.Write(make([]byte, 3000))
			b.Reset()
			b.Release()
		},
		"a Body": func(p *pool.Bytes) {
			b := p.Get(0)
			b.ReadFrom(&scribbler{parts: []int{3}, err: io.EOF})
			b.Body().Close()
		},
		"AvailableBuffer": func(p *pool.Bytes) {
			b := p.Get(10)
			(&scribbler{}).Read(b.AvailableBuffer()[:200])
			b.Release()
		},
		"a retained Buffer": func(p *pool.Bytes) {
			b := p.Get(0)
			b.ReadFrom(&scribbler{parts: []int{3}, err: io.EOF})
			c := b.Retain()
			b.Release()
			c.Release()
		},
		"Slices": func(p *pool.Bytes) {
			s := p.Slices(300)
			b := s.Get()
			(&scribbler{}).Read(b)
			s.Put(b)
		},
		"Pointers": func(p *pool.Bytes) {
			q := p.Pointers()
			b := q.Get(300)
			(&scribbler{}).Read((*b)[:cap(*b)])
			q.Put(b)
		},
	}
	for name, o := range clearing {
		for way, use := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				p := pool.NewBytes(o)
				for range 10 { // a sync.Pool may lose one, above all under -race
					use(p)
					require.Zero(t, leftovers(p), "a later lease sees bytes of an earlier one")
				}
			})
		}
	}
	t.Run("the check sees a pool that does not clear", func(t *testing.T) {
		for way, use := range ways {
			p := pool.NewBytes(pool.Options{})
			seen := 0
			for range 100 {
				use(p)
				seen += leftovers(p)
			}
			assert.NotZero(t, seen, way)
		}
	})
}

// The memory of a detached slice belongs to the caller, with nothing of other leases in it.
func TestDetachedMemoryIsClearedBehindItsContents(t *testing.T) {
	for name, o := range clearing {
		b, err := pool.NewBytes(o).ReadAll(&scribbler{parts: []int{7}, err: io.EOF}, 0)
		require.NoError(t, err)
		memory := pool.Memory(b)
		data := b.Detach()
		assert.Equal(t, "sssssss", string(data), name)
		assert.True(t, allZero(memory[7:]), name)
	}
}

// FuzzClearing gives all memory that a lease hands out to readers and writers that scribble over
// it. A later lease must see zeros in all of its memory, and so must detached memory behind its
// contents. The first byte chooses the options.
func FuzzClearing(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 2 * len(clearing) {
		f.Add(append([]byte{byte(i)}, randomProgram(r)[:120]...))
	}
	names := make([]string, 0, len(clearing))
	for name := range clearing {
		names = append(names, name)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) == 0 {
			return
		}
		name := names[int(program[0])%len(names)]
		require.NoError(t, scribble(pool.NewBytes(clearing[name]), program[1:]), name)
	})
}

// scribble runs a program on one lease at a time.
func scribble(p *pool.Bytes, program []byte) error {
	b := p.Get(10)
	for i := 0; i+1 < len(program); i += 2 {
		n := int(program[i+1]) * int(program[i+1]) / 10
		switch program[i] % 9 {
		case 0:
			b.ReadFrom(&scribbler{parts: []int{n, n / 3}, err: io.EOF})
		case 1:
			b.ReadFrom(&scribbler{err: errors.New("broken")})
		case 2:
			room := b.AvailableBuffer()
			(&scribbler{}).Read(room[:cap(room)])
		case 3:
			b.Write(bytes.Repeat([]byte{secretByte}, n))
		case 4:
			b.Truncate(min(n, b.Len()))
		case 5:
			(&scribbler{}).Read(b.Bytes()) // an io.Writer that scribbles over what it was given
		case 6:
			memory := pool.Memory(b)
			kept := b.Len()
			b.Detach()
			if !allZero(memory[kept:]) {
				return fmt.Errorf("step %d: detached memory has scribbled bytes", i)
			}
			b = p.Get(n)
		case 7:
			c := b.Retain()
			b.Release()
			c.Release()
			b = p.Get(n)
		case 8:
			b.Release()
			b = p.Get(n)
		}
		if op := program[i] % 9; op >= 6 && !allZero(pool.Memory(b)) {
			return fmt.Errorf("step %d: a new lease has %d bytes that are not zero", i, notZero(pool.Memory(b)))
		}
	}
	b.Release()
	if n := leftovers(p); n > 0 {
		return fmt.Errorf("%d bytes were left", n)
	}
	return nil
}

func TestScribblingIsSeenWithoutClearing(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		if scribble(p, randomProgram(r)[:60]) != nil {
			return
		}
	}
	t.Error("100 programs on a pool that does not clear showed no earlier byte")
}
