package leakcheck_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
	"unique"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// A kept is what the rows of the matrix leak.
type kept struct {
	id   int
	next *kept
	_    [10]int
}

func (k *kept) method()                        {}
func (k *kept) Read(p []byte) (n int, e error) { return 0, nil }

type keptStore struct {
	_     string
	slots [3]struct {
		before int
		obj    *kept
	}
}

type chain1 struct{ a *chain2 }
type chain2 struct{ b *chain3 }
type chain3 struct{ c *chain4 }
type chain4 struct{ d *kept }

var (
	keptQueue   []*kept
	keptMap     map[string]*kept
	keptIntMap  map[int]*kept
	keptSlice   []*kept
	keptStruct  keptStore
	keptChain   *chain1
	keptAny     any
	keptReader  interface{ Read([]byte) (int, error) }
	keptWrapped interface{ Read([]byte) (int, error) }
	keptFunc    func()
	keptGeneric func()
	keptMethod  func()
	keptChan    chan *kept
	keptCtx     context.Context
	keptNoCtx   context.Context
	keptPool    sync.Pool
	keptCleanup *kept
	keptHead    *kept
	keptTail    []byte
	keptSub     string
	keptMux     *http.ServeMux
	keptSync    sync.Map
	keptWeak    weak.Pointer[kept]
	keptUnique  unique.Handle[string]
	keptOnly    *kept
)

type keptKey struct{}

func at[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// A plant leaks an object in one way, and says where it is. What it starts ends with the test.
type plant func(t *testing.T) uintptr

var retentionMatrix = []struct {
	name  string
	plant plant
	want  []string
	not   string
}{
	{"package variable, map", plantMap, []string{"retained by package variable leakcheck_test.keptMap", `leakcheck_test.keptMap["key"]`, "→ map"}, ""},
	{"package variable, map of ints that has grown", plantIntMap, []string{"leakcheck_test.keptIntMap[99]"}, "table"},
	{"package variable, slice", plantSlice, []string{"retained by package variable leakcheck_test.keptSlice", "leakcheck_test.keptSlice[2]"}, ""},
	{"package variable, struct field", plantStruct, []string{"retained by package variable leakcheck_test.keptStruct", "leakcheck_test.keptStruct.slots[1].obj"}, ""},
	{"package variable, chain of five pointers", plantChain, []string{"leakcheck_test.keptChain.a.b.c.d", "leakcheck_test.chain3"}, ""},
	{"package variable, any", plantAny, []string{"retained by package variable leakcheck_test.keptAny", "the object: leakcheck_test.kept"}, ""},
	{"package variable, interface with methods", plantReader, []string{"retained by package variable leakcheck_test.keptReader", "leakcheck_test.kept"}, ""},
	{"package variable, interface around a struct of one pointer", plantWrapped, []string{"retained by package variable leakcheck_test.keptWrapped", "the object: leakcheck_test.kept"}, "wrapper"},
	{"variable of an interface type, initialized", plantInitialized, []string{`leakcheck_test.keptByInterface.store.entries["key"]`}, "object of"},
	{"variable of type any, initialized", plantInitializedAny, []string{`leakcheck_test.keptByAny.entries["key"]`}, "object of"},
	{"slice of a named type", plantNamedSlice, []string{"leakcheck_test.keptNamed.list[1]", "→ leakcheck_test.keptList [1]"}, ".array"},
	{"slice of a generic type in a map of named strings", plantNamedMap, []string{`leakcheck_test.keptNamed.lists["key"][1]`}, ".array"},
	{"slot behind the end of a named slice", plantNamedPopped, []string{"retained by package variable leakcheck_test.keptNamed, in the array behind the slice, at a slot that is not part of it"}, ".array"},
	{"channel of a named type", plantNamedChan, []string{"→ channel buffer leakcheck_test.keptQueueOf", "the object: leakcheck_test.kept"}, "hchan"},
	{"struct as the key of a map", plantStructKey, []string{`leakcheck_test.keptNamed.byStruct[leakcheck_test.structKey{"", -3, [2]bool{false, true}}]`}, ""},
	{"struct in the key of a map of any", plantAnyKey, []string{`leakcheck_test.keptNamed.byAny[leakcheck_test.structKey{"x", 7, [2]bool{false, false}}]`}, ""},
	{"UUID as the key of a sync.Map", plantUUIDKey, []string{"leakcheck_test.keptNamed.byUUID.Load(0102ff00-0000-0000-0000-000000000000)"}, ""},
	{"array without a size as the key of a map", plantEmptyKey, []string{"leakcheck_test.keptNamed.byNothing[…]"}, ""},
	{"pointer in the key of a map", plantPointerKey, []string{"leakcheck_test.keptNamed.byAny[…]"}, ""},
	{"method value of a generic type", plantGenericMethod, []string{"method value leakcheck_test.(*genericCache[...]).drop", "leakcheck_test.genericCache[...] .items", `→ map ["key"].value`, "→ the object (96 B"}, "uint8"},
	{"closure of a generic function with two instances", plantGenericClosure, []string{"closure leakcheck_test.keepHolder[...].func1, its variable h", "leakcheck_test.holder[...] .list", "→ []*… [1]"}, "uint8"},
	{"closure of the other instance", plantOtherInstance, []string{"closure leakcheck_test.keepHolder[...].func1, its variable h", "leakcheck_test.holder[...] .one.obj", "the object: leakcheck_test.kept"}, "object of"},
	{"closure variable", plantClosure, []string{"retained by package variable leakcheck_test.keptFunc", "closure leakcheck_test.plantClosure.func1", "its variable captured"}, ""},
	{"variable of a generic function's closure", plantGeneric, []string{"closure leakcheck_test.keepGeneric[...].func1, its variable generic"}, ""},
	{"goroutine blocked on a channel", plantReceive, []string{"retained by a goroutine blocked in chan receive", "leakcheck_test.blockOnReceive", "why_matrix_test.go:", "created by leakcheck_test.blocked"}, ""},
	{"argument of a go statement", plantArgument, []string{"retained by a goroutine blocked in chan receive", "(argument k of its go statement)"}, "gowrap"},
	{"goroutine blocked in select", plantSelect, []string{"retained by a goroutine blocked in select", "leakcheck_test.blockOnSelect"}, ""},
	{"goroutine blocked on a mutex", plantMutex, []string{"retained by a goroutine blocked in sync.Mutex.Lock", "leakcheck_test.blockOnMutex (leakcheck/why_matrix_test.go:", "mu.Lock()"}, ""},
	{"goroutine blocked on the network", plantNetwork, []string{"retained by a goroutine blocked in IO wait", "leakcheck_test.blockOnNetwork (", "c.Read(b[:])"}, ""},
	{"channel buffer", plantChannel, []string{"retained by package variable leakcheck_test.keptChan", "channel buffer"}, ""},
	{"pending AfterFunc", plantTimer, []string{"retained by a timer pending for 1 h", "timer pending for 1 h", "closure leakcheck_test.plantTimer.func1"}, "runtime.p"},
	{"child of context.WithValue", plantContext, []string{"retained by package variable leakcheck_test.keptCtx", "a context value: use ctxreq.Detach or a smaller value"}, ""},
	{"context.WithoutCancel", plantWithoutCancel, []string{"retained by package variable leakcheck_test.keptNoCtx", "a context value: use ctxreq.Detach"}, ""},
	{"cycle with a finalizer", plantFinalizer, []string{"a cycle with a finalizer", "use runtime.AddCleanup"}, ""},
	{"argument of AddCleanup", plantCleanup, []string{"runtime.AddCleanup"}, ""},
	{"stack object behind a callee", plantStackObject, []string{"retained by a goroutine blocked in chan receive", "on the stack of leakcheck_test.holdOnStack"}, ""},
	{"linked list of 10,000", plantList, []string{"retained by package variable leakcheck_test.keptHead", "9,99", "more like it"}, ""},
	{"tail of a slice", plantTail, []string{"retained by package variable leakcheck_test.keptTail", "a slice of 10 bytes retains the whole array of 16 KiB: use slices.Clone", "the object: []byte"}, ""},
	{"substring", plantSubstring, []string{"retained by package variable leakcheck_test.keptSub", "a substring of 10 bytes retains the whole string of 16 KiB: use strings.Clone"}, ""},
	{"handler of a ServeMux", plantHandler, []string{"retained by package variable leakcheck_test.keptMux", "closure leakcheck_test.plantHandler.func1", "its variable captured"}, ""},
	{"sync.Map", plantSyncMap, []string{"retained by package variable leakcheck_test.keptSync", "→ sync.Map", `keptSync.Load("key")`}, "HashTrieMap"},
	{"weak pointer only", plantWeak, []string{"nothing retains it"}, ""},
	{"unique handle", plantUnique, []string{"retained by package variable leakcheck_test.keptUnique"}, ""},
	{"method value", plantMethod, []string{"retained by package variable leakcheck_test.keptMethod", "method value leakcheck_test.(*kept).method"}, ""},
	{"deferred call of a running function", plantDefer, []string{"retained by a goroutine blocked in chan receive", "in a deferred call"}, ""},
	{"queue that steps over a slot", plantQueue, []string{"retained by package variable leakcheck_test.keptQueue, in a slot that the slice has stepped over: clear the slot before that", "the object: leakcheck_test.kept"}, ""},
	{"frame of the test", nil, []string{"retained by your test, in leakcheck_test.", "(variable mine of its frame)"}, ""},

	{"variable, and a finalizer on what it holds", plantConn, []string{"retained by package variable leakcheck_test.keptConns: leakcheck_test.keptConns[0].page"}, "finalizer"},
	{"ring with a finalizer, in it", plantModule, []string{"retained by a cycle with a finalizer: leakcheck_test.module.functions[0].parent leads back to leakcheck_test.module, so it is never collected and the finalizer never runs", "or use runtime.AddCleanup", "object with a finalizer leakcheck_test.module .functions"}, "until the finalizer has run"},
	{"ring with a finalizer, behind it", plantModuleSource, []string{"retained by a cycle with a finalizer: leakcheck_test.module.functions[0].parent leads back to leakcheck_test.module", "object with a finalizer leakcheck_test.module .source"}, "until the finalizer has run"},
	{"finalizer behind a ring with a finalizer", plantBehindModule, []string{"retained by a cycle with a finalizer", "object with a finalizer leakcheck_test.module .conn", "leakcheck_test.conn .page"}, "until the finalizer has run"},
	{"variable, and a goroutine that is nearer", plantJanitor, []string{"retained by package variable leakcheck_test.keptCache: leakcheck_test.keptCache.inner.items[7]", "also retained by a goroutine blocked in chan receive in leakcheck_test.(*janitorInner).evict (leakcheck/why_matrix_test.go:"}, "object of"},
	{"two variables", plantTwice, []string{"retained by package variable leakcheck_test.keptFirst", "also retained by package variable leakcheck_test.keptSecond"}, ""},
	{"receiver of a method value, made by an earlier test", plantService, []string{"leakcheck_test.keptService", "method value leakcheck_test.(*service).login", "leakcheck_test.service .limit", "leakcheck_test.limiter .buckets"}, "object of"},
	{"handler of a server", plantServer, []string{"in http.(*Server).Serve (", "http/server.go:", "(variable s of its frame)", `http.ServeMux "/order"`, "method value leakcheck_test.(*service).login", "leakcheck_test.service .limit"}, "routingNode"},
	{"receiver of the method that a goroutine runs", plantReceiver, []string{"retained by a goroutine blocked in chan receive", "(variable s of its frame)", "leakcheck_test.service .limit"}, "object of"},
	{"interface in a frame", plantFrameInterface, []string{"retained by a goroutine blocked in chan receive", "leakcheck_test.service .limit"}, "object of"},
	{"slot behind the end of a slice", plantPopped, []string{"retained by package variable leakcheck_test.keptStack, in the array behind the slice, at a slot that is not part of it: clear the slot before cutting"}, "keptStack[1]"},
	{"child of a context of the program", plantChild, []string{"retained by package variable leakcheck_test.keptParent", ", among the children of a context that is not cancelled: call the cancel function"}, ""},
	{"child of the test's context", plantTestChild, []string{"retained by the test's context, among its children: call the cancel function"}, "_testmain.go:"},
}

// The rows share a process and a dump: they keep different objects in different ways.
func TestRetentionMatrix(t *testing.T) {
	testgate.NoRace(t) // a path does not depend on the race detector, and the second build takes long there
	for _, rate := range []int{1, 0} {
		t.Run(fmt.Sprintf("MemProfileRate=%d", rate), func(t *testing.T) {
			if rate == 0 {
				testgate.Seconds(t)
			}
			testMatrix(t, rate)
		})
	}
}

func testMatrix(t *testing.T, rate int) {
	old := runtime.MemProfileRate
	runtime.MemProfileRate = rate
	defer func() { runtime.MemProfileRate = old }()
	mine := &kept{}
	keptOnly = mine // on the heap
	keptOnly = nil
	addrs := make([]uintptr, len(retentionMatrix))
	for i, row := range retentionMatrix {
		if row.plant == nil {
			addrs[i] = at(mine)
			continue
		}
		addrs[i] = row.plant(t)
	}
	runtime.MemProfileRate = old // reading a dump at rate 1 takes ten times as long
	paths, err := leakcheck.Explain(t, addrs)
	runtime.KeepAlive(mine)
	require.NoError(t, err)
	for i, row := range retentionMatrix {
		t.Run(row.name, func(t *testing.T) {
			text := paths[i].String()
			t.Log("\n" + text)
			for _, w := range row.want {
				assert.Contains(t, text, w)
			}
			if row.name == "argument of AddCleanup" && rate == 1 {
				assert.Contains(t, text, "retained by a runtime.AddCleanup", "where it was allocated says so")
			}
			if row.not != "" {
				assert.NotContains(t, text, row.not)
			}
		})
	}
}

//go:noinline
func plantMap(*testing.T) uintptr {
	k := &kept{}
	keptMap = map[string]*kept{"key": k}
	return at(k)
}

// The compiler lays out what these lead to, up to the maps.
type entryStore interface{ put(string, *kept) }

type mapStore struct {
	_       string
	entries map[string]*kept
}

func (s *mapStore) put(key string, k *kept) { s.entries[key] = k }

type outerStore struct {
	_     int
	store entryStore
}

func (s *outerStore) put(key string, k *kept) { s.store.put(key, k) }

var (
	keptByInterface entryStore = &outerStore{store: &mapStore{entries: map[string]*kept{}}}
	keptByAny       any        = &mapStore{entries: map[string]*kept{}}
)

//go:noinline
func plantInitialized(*testing.T) uintptr {
	k := &kept{}
	keptByInterface.put("key", k)
	return at(k)
}

//go:noinline
func plantInitializedAny(*testing.T) uintptr {
	k := &kept{}
	keptByAny.(*mapStore).put("key", k)
	return at(k)
}

type (
	keptList      []*kept
	listOf[T any] []T
	name          string
	keptQueueOf   chan *kept
	structKey     struct {
		name  name
		n     int32
		flags [2]bool
	}
)

var keptNamed struct {
	list, popped keptList
	lists        map[name]listOf[*kept]
	queue        keptQueueOf
	byStruct     map[structKey]*kept
	byAny        map[any]*kept
	byUUID       sync.Map
	byNothing    map[[1 << 40]struct{}]*kept
}

//go:noinline
func plantNamedSlice(*testing.T) uintptr {
	keptNamed.list = keptList{nil, {}}
	return at(keptNamed.list[1])
}

//go:noinline
func plantNamedMap(*testing.T) uintptr {
	k := &kept{}
	keptNamed.lists = map[name]listOf[*kept]{"key": {nil, k}}
	return at(k)
}

//go:noinline
func plantNamedPopped(*testing.T) uintptr {
	k := &kept{}
	keptNamed.popped = keptList{nil, k}[:1]
	return at(k)
}

//go:noinline
func plantNamedChan(*testing.T) uintptr {
	k := &kept{}
	keptNamed.queue = make(keptQueueOf, 2)
	keptNamed.queue <- k
	return at(k)
}

//go:noinline
func plantStructKey(*testing.T) uintptr {
	k := &kept{}
	keptNamed.byStruct = map[structKey]*kept{{n: -3, flags: [2]bool{false, true}}: k}
	return at(k)
}

//go:noinline
func plantAnyKey(*testing.T) uintptr {
	k := &kept{}
	keptNamed.byAny = map[any]*kept{structKey{name: "x", n: 7}: k}
	return at(k)
}

//go:noinline
func plantUUIDKey(*testing.T) uintptr {
	k := &kept{}
	keptNamed.byUUID.Store([16]byte{1, 2, 0xff}, k)
	return at(k)
}

//go:noinline
func plantEmptyKey(*testing.T) uintptr {
	k := &kept{}
	keptNamed.byNothing = map[[1 << 40]struct{}]*kept{{}: k}
	return at(k)
}

//go:noinline
func plantPointerKey(*testing.T) uintptr {
	k := &kept{}
	keptNamed.byAny[struct{ p *int }{new(int)}] = k
	return at(k)
}

type genericCache[K comparable, V any] struct {
	items map[K]struct{ value V }
}

func (c *genericCache[K, V]) drop() { clear(c.items) }

type holder[T any] struct {
	one  T
	list []T
}

//go:noinline
func keepHolder[T any](h *holder[T]) func() int { return func() int { return len(h.list) } }

var (
	keptGenericMethod             func()
	keptGenericFunc, keptGeneric2 func() int
)

//go:noinline
func plantGenericMethod(*testing.T) uintptr {
	k := &kept{}
	c := &genericCache[string, *kept]{items: map[string]struct{ value *kept }{"key": {k}}}
	keptGenericMethod = c.drop
	return at(k)
}

//go:noinline
func plantGenericClosure(*testing.T) uintptr {
	k := &kept{}
	keptGenericFunc = keepHolder(&holder[*kept]{list: []*kept{nil, k}})
	return at(k)
}

type pairOf struct {
	_   [3]int
	obj *kept
}

//go:noinline
func plantOtherInstance(*testing.T) uintptr {
	k := &kept{}
	keptGeneric2 = keepHolder(&holder[pairOf]{one: pairOf{obj: k}})
	return at(k)
}

//go:noinline
func plantIntMap(*testing.T) uintptr {
	keptIntMap = map[int]*kept{}
	for i := range 3000 {
		keptIntMap[i] = &kept{}
	}
	return at(keptIntMap[99])
}

//go:noinline
func plantSlice(*testing.T) uintptr {
	keptSlice = []*kept{{}, {}, {}, {}}
	return at(keptSlice[2])
}

//go:noinline
func plantQueue(*testing.T) uintptr {
	queue := []*kept{{}, {}, {}, {}}
	keptQueue = queue[2:]
	return at(queue[1])
}

//go:noinline
func plantStruct(*testing.T) uintptr {
	keptStruct.slots[1].obj = &kept{}
	return at(keptStruct.slots[1].obj)
}

//go:noinline
func plantChain(*testing.T) uintptr {
	keptChain = &chain1{&chain2{&chain3{&chain4{&kept{}}}}}
	return at(keptChain.a.b.c.d)
}

//go:noinline
func plantAny(*testing.T) uintptr {
	k := &kept{}
	keptAny = k
	return at(k)
}

//go:noinline
func plantReader(*testing.T) uintptr {
	k := &kept{}
	keptReader = k
	return at(k)
}

type wrapper struct{ k *kept }

func (w wrapper) Read(p []byte) (n int, e error) { return w.k.Read(p) }

//go:noinline
func plantWrapped(*testing.T) uintptr {
	k := &kept{}
	keptWrapped = wrapper{k}
	return at(k)
}

//go:noinline
func plantGeneric(*testing.T) uintptr {
	k := &kept{}
	keepGeneric(k)
	return at(k)
}

//go:noinline
func keepGeneric[T any](generic *T) {
	keptGeneric = func() { runtime.KeepAlive(generic) }
}

func plantClosure(*testing.T) uintptr {
	captured := &kept{}
	keptFunc = func() { captured.id++ }
	return at(captured)
}

// blocked runs f in a goroutine until the test ends.
func blocked(t *testing.T, f func(k *kept, stop chan int)) uintptr {
	k := &kept{}
	stop := make(chan int)
	done := make(chan int)
	go func() { defer close(done); f(k, stop) }()
	t.Cleanup(func() { close(stop); <-done })
	return at(k)
}

//go:noinline
func blockOnReceive(k *kept, stop chan int) { <-stop; k.id++ }

//go:noinline
func plantReceive(t *testing.T) uintptr { return blocked(t, blockOnReceive) }

//go:noinline
func plantArgument(t *testing.T) uintptr {
	k := &kept{}
	started, stop, done := make(chan bool), make(chan bool), make(chan bool)
	go func(k *kept, started chan bool) {
		defer close(done)
		close(started)
		<-stop
		k.id++
	}(k, started)
	<-started
	t.Cleanup(func() { close(stop); <-done })
	return at(k)
}

//go:noinline
func blockOnSelect(k *kept, stop chan int) {
	select {
	case <-stop:
	case <-make(chan bool):
	}
	k.id++
}

//go:noinline
func plantSelect(t *testing.T) uintptr { return blocked(t, blockOnSelect) }

//go:noinline
func blockOnMutex(k *kept, mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
	k.id++
}

//go:noinline
func plantMutex(t *testing.T) uintptr {
	mu, done, k := new(sync.Mutex), make(chan int), &kept{}
	mu.Lock()
	go func() { defer close(done); blockOnMutex(k, mu) }()
	t.Cleanup(func() { mu.Unlock(); <-done })
	return at(k)
}

//go:noinline
func blockOnNetwork(k *kept, c net.Conn) {
	var b [1]byte
	c.Read(b[:])
	k.id++
}

//go:noinline
func plantNetwork(t *testing.T) uintptr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	k, done := &kept{}, make(chan int)
	go func() { defer close(done); blockOnNetwork(k, c) }()
	t.Cleanup(func() { c.Close(); l.Close(); <-done })
	return at(k)
}

//go:noinline
func plantChannel(*testing.T) uintptr {
	keptChan = make(chan *kept, 3)
	k := &kept{}
	keptChan <- k
	return at(k)
}

//go:noinline
func plantTimer(t *testing.T) uintptr {
	captured := &kept{}
	timer := time.AfterFunc(time.Hour, func() { captured.id++ })
	stop := weak.Make(timer) // the row must not be what keeps it
	t.Cleanup(func() {
		if p := stop.Value(); p != nil {
			p.Stop()
		}
	})
	return at(captured)
}

//go:noinline
func plantContext(*testing.T) uintptr {
	k := &kept{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), keptKey{}, k))
	cancel()
	keptCtx = ctx
	return at(k)
}

//go:noinline
func plantWithoutCancel(*testing.T) uintptr {
	k := &kept{}
	keptNoCtx = context.WithoutCancel(context.WithValue(context.Background(), keptKey{}, k))
	return at(k)
}

//go:noinline
func plantFinalizer(*testing.T) uintptr {
	a, b := &kept{}, &kept{}
	a.next, b.next = b, a
	runtime.SetFinalizer(a, func(*kept) {})
	return at(b)
}

//go:noinline
func plantCleanup(*testing.T) uintptr {
	k := &kept{}
	keptCleanup = &kept{}
	runtime.AddCleanup(keptCleanup, func(*kept) {}, k)
	return at(k)
}

//go:noinline
func holdOnStack(stop chan int, k *kept) {
	var local struct {
		pad [7]int
		k   *kept
	}
	local.k = k
	k = nil
	waitWith(&local.pad, stop)
}

//go:noinline
func waitWith(p *[7]int, stop chan int) { <-stop; p[0]++ }

//go:noinline
func plantStackObject(t *testing.T) uintptr {
	stop, done, give := make(chan int), make(chan int), make(chan *kept, 1)
	go func() { defer close(done); holdOnStack(stop, <-give) }()
	k := &kept{}
	give <- k
	t.Cleanup(func() { close(stop); <-done })
	return at(k)
}

//go:noinline
func plantList(*testing.T) uintptr {
	keptHead = &kept{}
	k := keptHead
	for range 9_999 {
		k.next = &kept{}
		k = k.next
	}
	return at(k)
}

//go:noinline
func plantTail(*testing.T) uintptr {
	b := make([]byte, 16<<10)
	keptTail = b[len(b)-10:]
	return at(&b[0])
}

//go:noinline
func plantSubstring(*testing.T) uintptr {
	s := strings.Repeat("x", 16<<10)
	keptSub = s[:10]
	return uintptr(unsafe.Pointer(unsafe.StringData(s)))
}

//go:noinline
func plantHandler(*testing.T) uintptr {
	captured := &kept{}
	keptMux = http.NewServeMux()
	keptMux.HandleFunc("/path", func(http.ResponseWriter, *http.Request) { captured.id++ })
	return at(captured)
}

//go:noinline
func plantSyncMap(*testing.T) uintptr {
	k := &kept{}
	keptSync.Store("key", k)
	return at(k)
}

//go:noinline
func plantWeak(*testing.T) uintptr {
	k := &kept{}
	keptWeak = weak.Make(k)
	return at(k)
}

//go:noinline
func plantUnique(*testing.T) uintptr {
	keptUnique = unique.Make(string(bytes.Repeat([]byte("u"), 100)))
	return *(*uintptr)(unsafe.Pointer(&keptUnique))
}

//go:noinline
func plantMethod(*testing.T) uintptr {
	k := &kept{}
	keptMethod = k.method
	return at(k)
}

//go:noinline
func deferInLoop(give chan *kept, stop chan int) {
	for range 2 {
		k := <-give
		defer func() { k.id++ }()
	}
	<-stop
}

//go:noinline
func plantDefer(t *testing.T) uintptr {
	stop, done, give := make(chan int), make(chan int), make(chan *kept, 2)
	go func() { defer close(done); deferInLoop(give, stop) }()
	k := &kept{}
	give <- k
	give <- &kept{}
	t.Cleanup(func() { close(stop); <-done })
	return at(k)
}

// A sync.Pool is asked for many objects, because under -race it drops some of what it is given.
func TestWhyAliveSaysThatAPoolIsNoLeak(t *testing.T) {
	testgate.Seconds(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // two collections would empty the pool
	var addrs []uintptr
	for range 32 {
		k := &kept{}
		addrs = append(addrs, at(k))
		keptPool.Put(k)
	}
	paths, err := leakcheck.Explain(t, addrs)
	require.NoError(t, err)
	held := 0
	for _, p := range paths {
		if len(p.Hops) > 0 {
			held++
			assert.Contains(t, p.String(), "retained by nothing but a sync.Pool: not a leak")
		}
	}
	assert.NotZero(t, held)
}

type page struct{ _ [4096]byte }

type conn struct{ page *page }

var keptConns []*conn

//go:noinline
func plantConn(*testing.T) uintptr {
	c := &conn{new(page)}
	runtime.SetFinalizer(c, func(c *conn) { c.page = nil })
	keptConns = append(keptConns[:0], c)
	return at(c.page)
}

type function struct{ parent *module }

type module struct {
	source    *page
	conn      *conn
	functions []function
}

//go:noinline
func newModule() *module {
	m := &module{source: new(page), functions: make([]function, 3)}
	for i := range m.functions {
		m.functions[i].parent = m
	}
	runtime.SetFinalizer(m, func(*module) {})
	return m
}

//go:noinline
func plantModule(*testing.T) uintptr { return at(newModule()) }

//go:noinline
func plantModuleSource(*testing.T) uintptr { return at(newModule().source) }

//go:noinline
func plantBehindModule(*testing.T) uintptr {
	m := newModule()
	m.conn = &conn{new(page)}
	runtime.SetFinalizer(m.conn, func(*conn) {})
	return at(m.conn.page)
}

type janitorInner struct{ items map[int]*kept }

//go:noinline
func (c *janitorInner) evict(stop chan int) {
	<-stop
	clear(c.items)
}

type janitorCache struct{ inner *janitorInner }

var keptCache *janitorCache

//go:noinline
func plantJanitor(t *testing.T) uintptr {
	inner := &janitorInner{map[int]*kept{}}
	stop, done := make(chan int), make(chan int)
	go func() { defer close(done); inner.evict(stop) }()
	t.Cleanup(func() { close(stop); <-done })
	keptCache = &janitorCache{inner}
	k := &kept{}
	inner.items[7] = k
	return at(k)
}

var keptFirst, keptSecond *kept

//go:noinline
func plantTwice(*testing.T) uintptr {
	keptFirst = &kept{}
	keptSecond = keptFirst
	return at(keptFirst)
}

type service struct {
	name  string
	limit *limiter
}

type limiter struct {
	mu      sync.Mutex
	buckets map[string]*kept
}

func (s *service) login(http.ResponseWriter, *http.Request) { s.limit.mu.Lock() }

func (s *service) wait(stop chan int) {
	<-stop
	s.limit.mu.Lock()
}

type waiter interface{ wait(stop chan int) }

//go:noinline
func newService() (*service, uintptr) {
	s := &service{"orders", &limiter{buckets: map[string]*kept{"user": {}}}}
	return s, at(s.limit.buckets["user"])
}

var keptService http.HandlerFunc

//go:noinline
func plantService(*testing.T) uintptr {
	s, a := newService()
	keptService = s.login
	return a
}

//go:noinline
func plantServer(t *testing.T) uintptr {
	s, a := newService()
	mux := http.NewServeMux()
	mux.HandleFunc("/order", s.login)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return a
}

//go:noinline
func plantReceiver(t *testing.T) uintptr {
	s, a := newService()
	stop, done := make(chan int), make(chan int)
	go func(s *service) { defer close(done); runService(s, stop) }(s)
	t.Cleanup(func() { close(stop); <-done })
	return a
}

//go:noinline
func runService(s *service, stop chan int) {
	<-stop
	s.limit.mu.Lock()
}

//go:noinline
func plantFrameInterface(t *testing.T) uintptr {
	s, a := newService()
	stop, done := make(chan int), make(chan int)
	go func() { defer close(done); runWaiter(s, stop) }()
	t.Cleanup(func() { close(stop); <-done })
	return a
}

//go:noinline
func runWaiter(w waiter, stop chan int) {
	<-stop
	w.wait(stop)
}

var keptStack []*kept

//go:noinline
func plantPopped(*testing.T) uintptr {
	keptStack = append(make([]*kept, 0, 4), &kept{}, &kept{})
	popped := at(keptStack[1])
	keptStack = keptStack[:1]
	return popped
}

var keptParent context.Context

var forgetCancel = context.WithCancel // by this name vet does not see that the cancel function is lost

//go:noinline
func plantChild(t *testing.T) uintptr {
	var stop context.CancelFunc
	keptParent, stop = context.WithCancel(context.Background())
	t.Cleanup(stop)
	k := &kept{}
	forgetCancel(context.WithValue(keptParent, keptKey{}, k))
	return at(k)
}

//go:noinline
func plantTestChild(t *testing.T) uintptr {
	k := &kept{}
	forgetCancel(context.WithValue(t.Context(), keptKey{}, k))
	return at(k)
}
