package pool_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

// panicOf returns what f panics with.
func panicOf(t *testing.T, f func()) (text string) {
	t.Helper()
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	require.Fail(t, "did not panic")
	return ""
}

// here is the place n lines below its call, as a message names it.
func here(below int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d)", file, line+below)
}

func TestStaleUseNamesBothPlaces(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	acquired := here(1)
	b := p.Get(10)
	released := here(1)
	b.Release()
	for range 10 {
		p.Get(10).Release()
	}

	text := panicOf(t, func() { b.Bytes() })
	assert.Regexp(t, `^pool: Buffer.Bytes called after the lease had ended
	acquired at \S+TestStaleUseNamesBothPlaces \(\S+\)
	released at \S+TestStaleUseNamesBothPlaces \(\S+\)$`, text)
	assert.Contains(t, text, "acquired at github.com/leaksafe/leaksafe/pool_test.TestStaleUseNamesBothPlaces ("+acquired)
	assert.Contains(t, text, "released at github.com/leaksafe/leaksafe/pool_test.TestStaleUseNamesBothPlaces ("+released)

	for end, f := range map[string]func(pool.Buffer){
		"detached at ":        func(b pool.Buffer) { b.Detach() },
		"moved into Body at ": func(b pool.Buffer) { b.Body() },
	} {
		b := p.Get(10)
		f(b)
		assert.Contains(t, panicOf(t, func() { b.Writer() }), end)
	}
}

func TestStaleUseAtLevelOffTellsHowToLearnMore(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	b := p.Get(10)
	b.Release()
	assert.Equal(t, "pool: Buffer.Reset called after Release; run with LEAKSAFE_POOL=check to see where the lease was acquired and where it ended",
		panicOf(t, b.Reset))
	assert.Equal(t, "pool: Buffer.Bytes called on the zero Buffer: get one from Bytes.Get",
		panicOf(t, func() { pool.Buffer{}.Bytes() }))
}

func TestASampledLeaseIsNotTakenForAnEarlierOne(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelSample})
	var ended []pool.Buffer
	for range 300 { // of the same header, mostly
		b := p.Get(10)
		b.Release()
		ended = append(ended, b)
	}
	for i, b := range ended {
		text := panicOf(t, func() { b.Bytes() })
		if i%128 == 0 {
			assert.Contains(t, text, "released at")
		} else {
			assert.NotContains(t, text, "acquired at", i)
		}
	}
}

func TestAWriteAfterReleaseIsFoundOnReuse(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
		for _, n := range []int{100, 4096, mib} {
			b := p.Get(n)
			kept := b.Bytes()
			b.Release()
			assert.Equal(t, byte(pool.PoisonByte), kept[0], "what was read there shows")
			kept[n-1] = 1
			text := panicOf(t, func() { p.Get(n) })
			assert.Contains(t, text, fmt.Sprintf("pool: Get, which is not at fault, found that memory was written to after Release, 1 time, first at byte %d\n\tacquired at ", n-1))
			assert.Contains(t, text, "\n\tended at ")
		}
	})
}

func TestAWriteIntoOutgrownMemoryIsFoundOnReuse(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
		b := p.Get(256)
		kept := b.Bytes()
		set(b, make([]byte, 1000))
		kept[3] = 1 // still the lease's
		b.Release()
		kept[3] = 1
		assert.Contains(t, panicOf(t, func() { p.Get(256) }), "pool: Get, which is not at fault, found that memory was written to after Release, 1 time, first at byte 3\n")
	})
}

func TestAGetThatPanicsCostsNoBudget(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxInUse: 1 << 20})
		b := p.Get(100)
		kept := b.Bytes()
		b.Release()
		kept[0] = 1
		assert.Panics(t, func() { p.GetContext(t.Context(), 100) })
		assert.Panics(t, func() { p.Get(math.MaxInt) }, "more than there is")
		assert.Zero(t, p.Stats().InUse)
		assert.Zero(t, p.Stats().InUseLeases)

		b = p.Get(1000)
		kept = b.Bytes()
		b.Release()
		kept[0] = 1
		small := p.Get(10)
		assert.Panics(t, func() { set(small, make([]byte, 1000)) }, "into the memory that was written to")
		assert.Equal(t, 256, p.Stats().InUse)
		set(small, make([]byte, 1000))
		assert.Len(t, small.Bytes(), 1000, "the lease goes on, with other memory")
		assert.True(t, small.Release())
		assert.Zero(t, p.Stats().InUse)
	})
}

func TestOutstandingIsOneLineAPlace(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	place := here(2)
	for range 3 {
		p.Get(4096)
	}
	one := p.Get(1)
	all := p.Outstanding()
	require.Len(t, all, 2)
	assert.Equal(t, "3 leases (12 KiB) not released, acquired at github.com/leaksafe/leaksafe/pool_test.TestOutstandingIsOneLineAPlace ("+place, all[0].String())
	assert.Contains(t, all[1].String(), "1 lease (256 B) not released, acquired at ")
	one.Release()
	assert.Len(t, p.Outstanding(), 1)
}

func TestOutstandingKnowsLostLeases(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	lose(p, 1000)
	eventually(t, func() bool { return p.Outstanding()[0].Lost == 1 })
	assert.Contains(t, p.Outstanding()[0].String(), "1 lease (1 KiB) not released, 1 of them lost (nothing refers to it any more), acquired at github.com/leaksafe/leaksafe/pool_test.lose (")
}

func TestOutstandingAtLevelOffDoesNotClaimThereIsNone(t *testing.T) {
	for _, p := range []*pool.Bytes{pool.NewBytes(pool.Options{}), pool.NewBytes(pool.Options{MaxInUse: 1000})} {
		assert.Equal(t, "[leases are not logged at LevelOff: set Options.Level to pool.LevelCheck, or LEAKSAFE_POOL=check]",
			fmt.Sprint(p.Outstanding()))
	}
}

func TestSampleTracesOneIn128(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelSample})
	var all []pool.Buffer
	for range 128 * 5 {
		all = append(all, p.Get(100))
	}
	require.Len(t, p.Outstanding(), 1)
	assert.Equal(t, 5, p.Outstanding()[0].Leases)
	for _, b := range all {
		require.True(t, b.Release())
	}
	assert.Empty(t, p.Outstanding())
}

func TestTheEnvironmentRaisesTheLevel(t *testing.T) {
	checks := func(o pool.Options) bool {
		p := pool.NewBytes(o)
		return len(p.Outstanding()) == 0
	}
	assert.False(t, checks(pool.Options{}))
	for env, on := range map[string]bool{"": false, "off": false, "sample": true, "check": true} {
		t.Setenv("LEAKSAFE_POOL", env)
		assert.Equal(t, on, checks(pool.Options{}), env)
		assert.True(t, checks(pool.Options{Level: pool.LevelCheck}), "it does not lower it")
	}
}

// A service must not end at its start because of an environment variable.
func TestAnUnknownLevelInTheEnvironmentIsLogged(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	value := fmt.Sprint("chekc", rand.Uint64()) // each value is logged once in a process
	t.Setenv("LEAKSAFE_POOL", value)
	for range 3 {
		pool.NewBytes(pool.Options{}).Get(1).Release()
		pool.New(newObject).Get().Release()
	}
	assert.Equal(t, 1, strings.Count(log.String(), "LEAKSAFE_POOL"), log.String())
	assert.Contains(t, log.String(), `level=ERROR msg="pool: the environment variable LEAKSAFE_POOL is ignored: set it to off, sample or check" value=`+value)
	assert.Empty(t, pool.NewBytes(pool.Options{Level: pool.LevelCheck}).Outstanding(), "the option holds")
}

func TestOutstandingUnderLoad(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				b := p.Get(300)
				set(b, make([]byte, 700))
				p.Outstanding()
				b.Release()
			}
		})
	}
	all.Wait()
	assert.Empty(t, p.Outstanding())
}

func newLogger(to io.Writer) *log.Logger { return log.New(to, "", 0) }
