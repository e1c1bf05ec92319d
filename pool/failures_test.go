package pool_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
	"github.com/leaksafe/leaksafe/pool/scratch"
)

var update = flag.Bool("update", false, "write testdata/failures.txt anew")

// place matches what differs between machines and revisions.
var place = regexp.MustCompile(`\([^ ()]*/([^/()]+\.go):\d+\)`)

var closure = regexp.MustCompile(`\.func[\d.]+`)

// TestFailures has every panic, error and failure text of the package in one file, to be read.
func TestFailures(t *testing.T) {
	var all strings.Builder
	show := func(when, text string) {
		text = strings.ReplaceAll(text, fmt.Sprint(math.MaxInt), "MAXINT") // it depends on the machine
		fmt.Fprintf(&all, "# %s\n%s\n\n", when, closure.ReplaceAllString(place.ReplaceAllString(text, "($1:0)"), ".func"))
	}
	panics := func(when string, f func()) { show(when, panicOf(t, f)) }
	fails := func(when string, err error) {
		require.Error(t, err, when)
		show(when, err.Error())
	}
	off := pool.NewBytes(pool.Options{})
	check := func() *pool.Bytes { return pool.NewBytes(pool.Options{Level: pool.LevelCheck}) }
	released := func(p *pool.Bytes) pool.Buffer {
		b := p.Get(10)
		b.Release()
		return b
	}

	panics("NewBytes with a negative size", func() { pool.NewBytes(pool.Options{MaxInUse: -1}) })
	panics("NewBytes with an unknown Level", func() { pool.NewBytes(pool.Options{Level: 3}) })
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "value" { // the value differs, since each is logged once
			return slog.Attr{}
		}
		return a
	}})))
	t.Setenv("LEAKSAFE_POOL", t.TempDir())
	pool.NewBytes(pool.Options{})
	t.Setenv("LEAKSAFE_POOL", "")
	slog.SetDefault(before)
	show("LEAKSAFE_POOL with an unknown value (logged)", strings.TrimSpace(log.String()))

	panics("Get of a zero Bytes", func() { new(pool.Bytes).Get(1) })
	panics("Get of a negative length", func() { off.Get(-1) })
	_, err := off.GetContext(t.Context(), -1)
	fails("GetContext of a negative length", err)
	small := pool.NewBytes(pool.Options{MaxInUse: 1000})
	_, err = small.GetContext(t.Context(), 600)
	fails("GetContext of more than MaxInUse", err)
	ended, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	waits := pool.NewBytes(pool.Options{MaxInUse: 1024})
	held := waits.Get(1024)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		for waits.Stats().Waiting == 0 {
		}
		stop()
	}()
	_, err = waits.GetContext(ctx, 100)
	fails("GetContext whose context ends", err)
	_, err = waits.GetContext(ended, 100)
	fails("GetContext whose context had ended", err)
	held.Release()

	panics("a method of the zero Buffer", func() { pool.Buffer{}.Bytes() })
	panics("a method after Release, LevelOff", func() { released(off).Bytes() })
	panics("a method after Release, LevelCheck", func() { released(check()).Bytes() })
	panics("a method after Detach, LevelCheck", func() { b := check().Get(1); b.Detach(); b.Len() })
	panics("a method after Body, LevelCheck", func() { b := check().Get(1); b.Body(); b.Len() })
	panics("a method of a released lease from Retain, LevelCheck", func() { b := check().Get(1).Retain(); b.Release(); b.Len() })
	panics("a change after Retain", func() { b := off.Get(1); b.Retain(); b.WriteString("x") })
	panics("Truncate beyond the length", func() { off.Get(1).Truncate(2) })
	panics("a Pool that New did not make", func() { new(pool.Pool[int]).Get() })
	panics("Grow by a negative number", func() { off.Get(1).Grow(-1) })
	panics("Grow by more than there can be", func() { off.Get(1).Grow(math.MaxInt) })
	panics("a Reader that returns more than it was given room for", func() { off.ReadAll(lyingReader{}, 0) })
	panics("a Reader that changes the Buffer", func() {
		b := off.Get(0)
		b.ReadFrom(readerFunc(func([]byte) (int, error) { b.WriteByte('x'); return 1, nil }))
	})
	body := off.Get(1).Body()
	body.Close()
	_, err = body.Read(nil)
	fails("Read of a closed Body", err)

	p := check()
	b := p.Get(10)
	kept := b.Bytes()
	b.Release()
	kept[3] = 1
	panics("a write after Release, when the memory is leased again", func() { p.Get(10) })
	show("a write after Release, at the end of a test", p.Outstanding()[0].String())
	p = check()
	b = p.Get(1)
	large := p.Get(300)
	kept = large.Bytes()
	large.Release()
	kept[3] = 1
	panics("a write after Release, when another Buffer grows into the memory", func() { b.Write(make([]byte, 300)) })

	p = check()
	for range 3 {
		b = p.Get(4096)
	}
	show("leases that were not released", p.Outstanding()[0].String())
	p = check()
	lose(p, 100)
	eventually(t, func() bool { return p.Outstanding()[0].Lost == 1 })
	show("a lease that was lost", p.Outstanding()[0].String())
	show("Outstanding at LevelOff", off.Outstanding()[0].String())

	p = check()
	s := p.Slices(300)
	slice := s.Get()
	s.Put(slice)
	s.Put(slice)
	show("a slice that was put twice", p.Outstanding()[0].String())
	p = check()
	p.Slices(300).Put([]byte("mine"))
	show("a slice that the pool had not lent", p.Outstanding()[0].String())
	panics("Slices of no bytes", func() { p.Slices(0) })

	panics("New without a function", func() { pool.New[object](nil) })
	panics("New with two PoolOptions", func() { pool.New(newObject, pool.PoolOptions[object]{}, pool.PoolOptions[object]{}) })
	panics("New with an unknown Level", func() { pool.New(newObject, pool.PoolOptions[object]{Level: -1}) })
	panics("Get of a pool whose function returned nil", func() { pool.New(func() *object { return nil }).Get() })
	panics("Value of the zero Lease", func() { pool.Lease[object]{}.Value() })
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelCheck} {
		l := pool.New(newObject, pool.PoolOptions[object]{Level: level}).Get()
		l.Release()
		panics(fmt.Sprintf("Value of a Lease after Release, Level(%d)", level), func() { l.Value() })
	}
	objects := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelCheck})
	objects.Get()
	show("an object that was not released", objects.Outstanding()[0].String())

	var message scratch.Buffer
	fails("scratch: ReadFull of a negative length", message.ReadFull(nil, -1))
	panics("scratch: Bytes of the zero View", func() { scratch.View{}.Bytes() })
	message.Set([]byte("one"))
	view := message.View(0, 3)
	message.Set([]byte("two"))
	panics("scratch: Bytes of a View after the next Set", func() { view.Bytes() })

	const golden = "testdata/failures.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(all.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), all.String(), "if this is what you want, run go test ./pool -run TestFailures -update and read the file")
}
