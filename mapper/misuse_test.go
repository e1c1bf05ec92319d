package mapper_test

import (
	"bytes"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/mapper"
)

// logged returns what run logs.
func logged(t *testing.T, run func()) string {
	t.Helper()
	var b syncBuffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	run()
	return b.b.String()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// heap returns the live bytes after a garbage collection.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMillionBuilds builds one pair at one line a million times. It expects one warning that names
// the line, and a heap that grows by less than 1 MiB.
func TestMillionBuilds(t *testing.T) {
	mapper.ResetSites()
	testgate.NoRace(t)
	builds := testgate.Count(2_000, 20_000, 1_000_000)
	var grown int64
	text := logged(t, func() {
		before := heap()
		for range builds {
			mapper.Must[User, UserDTO](userOptions()...) // the line of the warning
		}
		grown = heap() - before
	})
	assert.Less(t, grown, int64(1<<20))
	assert.Equal(t, 1, strings.Count(text, "\n"), text)
	_, _, line, _ := runtime.Caller(0)
	assert.Contains(t, text, "from mapper_test.User to mapper_test.UserDTO is built again and again")
	assert.Contains(t, text, "misuse_test.go:"+strconv.Itoa(line-6)+": build it once, in a package-level variable")
}

// TestWarningCountsLines builds at two lines and two pairs, each too seldom.
func TestWarningCountsLines(t *testing.T) {
	mapper.ResetSites()
	few := func(build func()) {
		for range mapper.MaxBuilds - 1 {
			build()
		}
		runtime.GC()
	}
	text := logged(t, func() {
		few(func() { mapper.Must[Point, Point32]() })
		few(func() { mapper.Must[Point, Point32]() })
		few(func() { mapper.Must[Point32, Point]() })
	})
	assert.Empty(t, text)
	text = logged(t, func() {
		for range 3 {
			few(func() { _, _ = mapper.New[Point, Point32]() })
		}
	})
	assert.Equal(t, 1, strings.Count(text, "misuse_test.go:"), text)
}

// A tenant owns a Mapper.
type tenant struct {
	m *mapper.Mapper[Point, Point32]
}

func newTenant() *tenant { return &tenant{mapper.Must[Point, Point32]()} }

// TestOwnersAreNoMisuse builds a Mapper in the constructor of its owner: for few owners, and for
// many owners that a garbage collection has shown to be in use.
func TestOwnersAreNoMisuse(t *testing.T) {
	mapper.ResetSites()
	var tenants []*tenant
	text := logged(t, func() {
		for range 9 {
			tenants = append(tenants, newTenant())
		}
		for i := range 4 * mapper.MaxBuilds {
			tenants = append(tenants, newTenant())
			if i < mapper.MaxBuilds { // when a program starts, there may be no garbage collection
				continue
			}
			if i%(mapper.MaxBuilds/4) == 0 {
				runtime.GC()
			}
		}
	})
	assert.Empty(t, text)
	runtime.KeepAlive(tenants)
	mapper.ResetSites()
	text = logged(t, func() {
		for i := range mapper.MaxBuilds {
			newTenant()
			if i%(mapper.MaxBuilds/4) == 0 {
				runtime.GC()
			}
		}
	})
	assert.Equal(t, 1, strings.Count(text, "misuse_test.go:"), "owners that are dropped at once: %s", text)
}

// deeper calls build with n more functions on the stack.
func deeper(n int, build func() *tenant) *tenant {
	if n == 0 {
		return build()
	}
	return deeper(n-1, build)
}

// TestEveryTestCountsForItself runs many tests that build and drop an owner: the rows of a table,
// and one test again and again, as go test -count does. None of them is misuse, but a test that
// builds in a loop is.
func TestEveryTestCountsForItself(t *testing.T) {
	mapper.ResetSites()
	build := func(*testing.T) { deeper(100, newTenant) }
	text := logged(t, func() {
		for i := range 3 * mapper.MaxBuilds {
			t.Run(strconv.Itoa(i), build)
			if i%(mapper.MaxBuilds/4) == 0 {
				runtime.GC()
			}
		}
	})
	assert.Empty(t, text)
	loop := func(t *testing.T) {
		for i := range 3 * mapper.MaxBuilds {
			build(t)
			if i%(mapper.MaxBuilds/4) == 0 {
				runtime.GC()
			}
		}
	}
	text = logged(t, func() {
		t.Run("loop", loop)
		t.Run("another", loop)
	})
	assert.Equal(t, 2, strings.Count(text, "misuse_test.go:"), text)
}

func generic[A, B any](opts ...mapper.Option) *mapper.Mapper[A, B] { return mapper.Must[A, B](opts...) }

// TestWarningPassesGenericHelpers names the line that calls a generic function.
func TestWarningPassesGenericHelpers(t *testing.T) {
	mapper.ResetSites()
	text := logged(t, func() {
		for i := range 2 * mapper.MaxBuilds {
			generic[Point, Point32]() // the line of the warning
			if i == mapper.MaxBuilds*3/4 {
				runtime.GC()
			}
		}
	})
	_, _, line, _ := runtime.Caller(0)
	assert.Contains(t, text, "misuse_test.go:"+strconv.Itoa(line-6)+": build it once")
	mapper.ResetSites()
	assert.Empty(t, logged(t, func() {
		for range 2 * mapper.MaxBuilds {
			_, _ = mapper.New[Point, struct{ Z int }]()
		}
	}), "a failure is reported anyway")
}

// TestWarningTableIsBounded fills the table with sites.
func TestWarningTableIsBounded(t *testing.T) {
	mapper.ResetSites()
	defer mapper.ResetSites()
	for i := range 3 * mapper.MaxSites {
		mapper.CountSite(uintptr(i))
	}
	assert.LessOrEqual(t, mapper.Sites(), mapper.MaxSites)
	for n := range 2 * mapper.MaxBuilds {
		for i := range mapper.MaxSites {
			mapper.CountSite(uintptr(i))
		}
		if n == mapper.MaxBuilds {
			runtime.GC()
		}
	}
	assert.False(t, mapper.CountSite(1<<20), "a table full of warned sites takes no more")
	assert.Equal(t, mapper.MaxSites, mapper.Sites())
	assert.False(t, mapper.CountSite(3), "and warns about none again")
}

// A provider is like a function of a dependency-injection container that runs for each request: a
// common form of this misuse.
type provider func() *mapper.Mapper[User, UserDTO]

func (p provider) handle(t testing.TB, u User) {
	if d, err := p().Map(u); err != nil || d.Name != "Ada Lovelace" {
		t.Errorf("Map = %v, %v", d, err)
	}
}

// TestProviderPerRequest builds the Mapper for every request: it warns once and leaks nothing.
func TestProviderPerRequest(t *testing.T) {
	mapper.ResetSites()
	p := provider(func() *mapper.Mapper[User, UserDTO] { return mapper.Must[User, UserDTO](userOptions()...) })
	text := logged(t, func() {
		leakcheck.NoGrowth(t, func() { p.handle(t, newUser()) }, leakcheck.Iterations(5))
	})
	assert.Equal(t, 1, strings.Count(text, "is built again and again"), text)
}

// registry retains every Mapper that was ever built.
var registry []*mapper.Mapper[User, UserDTO]

// TestRegistryLeaks is the leaky counterpart: the same check catches the leak of a registry.
func TestRegistryLeaks(t *testing.T) {
	testgate.Seconds(t)
	defer func() { registry = nil }()
	p := provider(func() *mapper.Mapper[User, UserDTO] {
		m := mapper.Must[User, UserDTO](userOptions()...)
		registry = append(registry, m)
		return m
	})
	logged(t, func() {
		leakcheck.MustDetect(t, func(t testing.TB) {
			leakcheck.NoGrowth(t, func() { p.handle(t, newUser()) }, leakcheck.Iterations(2))
		})
	})
}

// TestNoGrowth uses every function that a service calls repeatedly.
func TestNoGrowth(t *testing.T) {
	testgate.NoRace(t)
	users := mapper.Must[User, UserDTO](userOptions()...)
	deep := mapper.Must[Deep, Deep2]()
	leakcheck.NoGrowth(t, func() {
		u := newUser()
		_, err := users.Slice([]User{u, u})
		require.NoError(t, err)
		_, err = deep.Map(*newDeep())
		require.NoError(t, err)
		_, err = mapper.Map[Deep2](*newDeep())
		require.NoError(t, err)
		var p Point32
		require.NoError(t, mapper.MapAny(&p, Point{1, 2}))
		require.Error(t, mapper.MapAny(&p, "x"))
		require.NoError(t, users.Patch(&UserDTO{}, &u))
	})
}

// TestMapperIsCollected drops a Mapper: nothing else may retain it or its plan.
func TestMapperIsCollected(t *testing.T) {
	leakcheck.Collected(t, func() *mapper.Mapper[User, UserDTO] {
		return mapper.Must[User, UserDTO](userOptions()...)
	})
	big := new([1 << 16]byte)
	leakcheck.Track(t, big)
	mapper.Must[User, UserDTO](append(userOptions(), mapper.Convert(func(u int16) (int16, error) {
		return u + int16(big[0]), nil
	}))...)
}
