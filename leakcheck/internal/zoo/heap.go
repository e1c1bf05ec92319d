package zoo

import (
	"bytes"
	"container/list"
	"context"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var heap = []Case{
	{
		Name:       "global_slice_append",
		Issue:      "https://github.com/near/near-contract-helper/issues/434",
		Cure:       "a local slice",
		Finds:      []Find{{Objects, "zoo.globalSliceAppend"}},
		RetainedBy: "package variable zoo.visits",
		Leak:       globalSliceAppend, Fixed: localSliceAppend,
	},
	{
		Name:       "request_map_not_deleted",
		Issue:      "https://github.com/gorilla/sessions/issues/122",
		Cure:       "delete at the end of the request",
		Finds:      []Find{{Objects, "zoo.requestMapNotDeleted"}},
		RetainedBy: "package variable zoo.sessions",
		Leak:       requestMapNotDeleted, Fixed: requestMapDeleted,
	},
	{
		Name:       "cache_no_eviction",
		Issue:      "https://github.com/allegro/bigcache/issues/109",
		Cure:       "a bounded LRU",
		Finds:      []Find{{Objects, "zoo.cacheNoEviction"}},
		RetainedBy: "package variable zoo.cache",
		Leak:       cacheNoEviction, Fixed: cacheBounded,
	},
	{
		Name:       "label_cardinality",
		Issue:      "https://github.com/prometheus/client_golang/issues/1340",
		Cure:       "an overflow label",
		Finds:      []Find{{Objects, "zoo.(*vector)"}},
		RetainedBy: "package variable zoo.latency",
		Leak:       labelPerUser, Fixed: labelOverflow,
	},
	{
		Name:       "subslice_pins_array",
		Issue:      "https://github.com/mulgadc/viperblock/pull/20",
		Cure:       "slices.Clone",
		Finds:      []Find{{Track, "*zoo.Object"}},
		RetainedBy: "package variable zoo.headers",
		Leak:       subslicePinsArray, Fixed: subsliceCloned,
	},
	{
		Name:       "substring_pins_string",
		Issue:      "https://github.com/rclone/rclone/pull/8684",
		Cure:       "strings.Clone",
		Finds:      []Find{{Bytes, "zoo.fetch"}},
		RetainedBy: "package variable zoo.names",
		Leak:       substringPinsString, Fixed: substringCloned,
		AllowPerOp: 256, // both keep a short name per operation, on purpose
	},
	{
		Name:       "queue_head_reslice",
		Issue:      "https://github.com/kubernetes/kubernetes/pull/105031",
		Cure:       "clear the slot before stepping over it",
		Finds:      []Find{{Track, "*zoo.Object"}},
		RetainedBy: "package variable zoo.workqueue, in a slot that the slice has stepped over",
		Leak:       queueHeadReslice, Fixed: queueHeadCleared,
	},
	{
		Name:       "freelist_oversize",
		Issue:      "https://github.com/golang/go/issues/23199",
		Cure:       "a cap on what is kept",
		Finds:      []Find{{Track, "*zoo.Object"}},
		RetainedBy: "package variable zoo.freelist",
		Leak:       freelistOversize, Fixed: freelistCapped,
	},
	{
		Name:       "map_step_growth",
		Issue:      "https://github.com/golang/go/issues/20135",
		Cure:       "a new map from time to time",
		Finds:      []Find{{Bytes, "zoo.mapStepGrowth"}},
		RetainedBy: "package variable zoo.counts",
		Leak:       mapStepGrowth, Fixed: mapReplaced,
	},
	{
		Name:       "ctx_children_cancel_stored",
		Issue:      "https://github.com/cockroachdb/cockroach/issues/149658",
		Cure:       "cancel()",
		Finds:      []Find{{Objects, "zoo.ctxCancelStored"}},
		RetainedBy: "package variable zoo.service",
		Leak:       ctxCancelStored, Fixed: ctxCancelled,
	},
	{
		Name:       "listener_not_removed",
		Issue:      "https://github.com/nats-io/stan.go/issues/365",
		Cure:       "unsubscribe",
		Finds:      []Find{{Objects, "zoo.listenerNotRemoved"}},
		RetainedBy: "package variable zoo.listeners",
		Leak:       listenerNotRemoved, Fixed: listenerRemoved,
	},
	{
		Name:       "closure_captures_big",
		Issue:      "https://github.com/anomalyco/opencode/pull/12024",
		Cure:       "capture the int",
		Finds:      []Find{{Track, "*zoo.Object"}},
		RetainedBy: "package variable zoo.onShutdown",
		Leak:       closureCapturesBig, Fixed: closureCapturesInt,
	},
	{
		Name:       "mapper_type_per_call",
		Issue:      "https://github.com/blockloop/scan/issues/61",
		Cure:       "register the type once",
		Finds:      []Find{{Objects, "zoo.mapperPerCall"}},
		RetainedBy: "package variable zoo.plans",
		Leak:       mapperPerCall, Fixed: mapperPerType,
	},
	{
		Name:       "afterfunc_pending",
		Issue:      "https://github.com/jellydator/ttlcache/pull/18",
		Cure:       "Stop",
		Finds:      []Find{{Objects, "zoo.afterFuncPending"}},
		RetainedBy: "a timer pending for 1 h",
		Leak:       afterFuncPending, Fixed: afterFuncStopped,
	},
	{
		Name:       "finalizer_cycle",
		Issue:      "https://github.com/tailscale/wireguard-go/pull/66",
		Cure:       "runtime.AddCleanup",
		Finds:      []Find{{Objects, "zoo.finalizerCycle"}},
		RetainedBy: "a cycle with a finalizer",
		Leak:       finalizerCycle, Fixed: cleanupCycle,
	},
	{
		Name:       "unbounded_queue_slow_consumer",
		Issue:      "https://github.com/nats-io/nats.go/issues/1163",
		Cure:       "a bounded channel",
		Finds:      []Find{{Objects, "zoo.unboundedQueue"}},
		RetainedBy: "package variable zoo.backlog",
		Leak:       unboundedQueue, Fixed: boundedQueue,
	},
	{
		Name:       "context_value_chain",
		Issue:      "https://github.com/golang/go/issues/68923",
		Cure:       "derive each time from the same context",
		Finds:      []Find{{Objects, "zoo.contextValueChain"}},
		RetainedBy: "package variable zoo.loopContext",
		Leak:       contextValueChain, Fixed: contextValueOnce,
	},
	{
		Name:       "request_kept_by_error_report",
		Issue:      "https://github.com/getsentry/sentry-javascript/issues/1762",
		Cure:       "copy the headers",
		Finds:      []Find{{Track, "*zoo.Object"}},
		RetainedBy: "package variable zoo.reports",
		Leak:       requestInReport, Fixed: headersInReport,
	},
	{
		Name:       "append_ints_to_global",
		Issue:      "https://github.com/tsenart/vegeta/issues/132",
		Cure:       "a local slice",
		Finds:      []Find{{Bytes, "zoo.appendInts"}},
		RetainedBy: "package variable zoo.ones",
		Leak:       appendInts, Fixed: appendIntsLocal,
	},
}

var visits []*Object

func globalSliceAppend(*Env) func() {
	return func() { visits = append(visits, new(Object)) }
}

func localSliceAppend(*Env) func() {
	return func() {
		var visits []*Object
		for range 4 {
			visits = append(visits, new(Object))
		}
		use(visits)
	}
}

var sessions = map[*http.Request]*Object{}

func requestMapNotDeleted(*Env) func() {
	return func() {
		r := new(http.Request)
		sessions[r] = new(Object)
	}
}

func requestMapDeleted(*Env) func() {
	sessions := map[*http.Request]*Object{}
	return func() {
		r := new(http.Request)
		sessions[r] = new(Object)
		defer delete(sessions, r)
	}
}

var cache = map[string]*Object{}

func cacheNoEviction(*Env) func() {
	n := 0
	return func() {
		n++
		cache[strconv.Itoa(n)] = &Object{ID: n}
	}
}

func cacheBounded(*Env) func() {
	c, n := newLRU(64), 0
	return func() {
		n++
		c.put(strconv.Itoa(n), &Object{ID: n})
	}
}

// An lru keeps the objects used last.
type lru struct {
	max   int
	order *list.List // of *entry
	items map[string]*list.Element
}

type entry struct {
	key string
	val *Object
}

func newLRU(n int) *lru {
	return &lru{max: n, order: list.New(), items: map[string]*list.Element{}}
}

func (c *lru) put(key string, o *Object) {
	c.items[key] = c.order.PushFront(&entry{key, o})
	if c.order.Len() > c.max {
		last := c.order.Remove(c.order.Back()).(*entry)
		delete(c.items, last.key)
	}
}

// A vector counts by label value.
type vector struct{ counts map[string]*int }

func (v *vector) inc(label string) {
	c, ok := v.counts[label]
	if !ok {
		c = new(int)
		v.counts[label] = use(c)
	}
	*c++
}

var latency = vector{counts: map[string]*int{}}

func labelPerUser(*Env) func() {
	n := 0
	return func() {
		n++
		latency.inc("user-" + strconv.Itoa(n))
	}
}

func labelOverflow(*Env) func() {
	latency, n := vector{counts: map[string]*int{}}, 0
	return func() {
		n++
		label := "user-" + strconv.Itoa(n)
		if len(latency.counts) > 32 {
			label = "other"
		}
		latency.inc(label)
	}
}

// A packet is read whole, and its first bytes are kept.
type packet struct {
	Object
	body [4096]byte
}

var headers [][]byte

func subslicePinsArray(env *Env) func() {
	return func() {
		p := new(packet)
		headers = append(headers, p.body[:16])
		env.Track(&p.Object)
	}
}

func subsliceCloned(env *Env) func() {
	var headers [][]byte
	env.Cleanup(func() { use(headers) })
	return func() {
		p := new(packet)
		headers = append(headers, slices.Clone(p.body[:16]))
		env.Track(&p.Object)
	}
}

// fetch returns a long answer.
func fetch() string { return strings.Repeat("<name>a.txt</name>", 256) }

var names []string

func substringPinsString(*Env) func() {
	return func() { names = append(names, fetch()[6:40]) }
}

func substringCloned(*Env) func() {
	var names []string
	return func() { names = append(names, strings.Clone(fetch()[6:40])) }
}

var workqueue = make([]*Object, 0, 64)

func queueHeadReslice(env *Env) func() {
	return func() {
		workqueue = append(workqueue, new(Object))
		head := workqueue[0]
		workqueue = workqueue[1:]
		env.Track(head)
	}
}

func queueHeadCleared(env *Env) func() {
	workqueue := make([]*Object, 0, 64)
	env.Cleanup(func() { use(workqueue) })
	return func() {
		workqueue = append(workqueue, new(Object))
		head := workqueue[0]
		workqueue[0] = nil
		workqueue = workqueue[1:]
		env.Track(head)
	}
}

// A scratch is a buffer that is used again.
type scratch struct {
	Object
	bytes.Buffer
}

var freelist []*scratch

func freelistOversize(env *Env) func() {
	return func() {
		s := new(scratch)
		s.Grow(1 << 20) // the one huge request
		s.Reset()
		freelist = append(freelist, s)
		env.Track(&s.Object)
	}
}

func freelistCapped(env *Env) func() {
	var freelist []*scratch
	env.Cleanup(func() { use(freelist) })
	return func() {
		s := new(scratch)
		s.Grow(1 << 20)
		s.Reset()
		if s.Cap() <= 64<<10 {
			freelist = append(freelist, s)
		}
		env.Track(&s.Object)
	}
}

var counts = map[int]int{}

func mapStepGrowth(*Env) func() {
	n := 0
	return func() {
		n++
		counts[n]++
	}
}

func mapReplaced(*Env) func() {
	counts, n := map[int]int{}, 0
	return func() {
		n++
		counts[n]++
		if len(counts) == 100 {
			counts = map[int]int{}
		}
	}
}

// A job keeps its cancel for whoever wants to stop it.
type job struct {
	ctx    context.Context
	cancel context.CancelFunc
}

var service, _ = context.WithCancel(context.Background())

func ctxCancelStored(*Env) func() {
	return func() {
		j := new(job)
		j.ctx, j.cancel = context.WithCancel(service)
		use(j)
	}
}

func ctxCancelled(*Env) func() {
	return func() {
		j := new(job)
		j.ctx, j.cancel = context.WithCancel(service)
		use(j)
		j.cancel()
	}
}

var listeners = map[int]func(){}

func listenerNotRemoved(*Env) func() {
	n := 0
	return func() {
		n++
		conn := &Object{ID: n}
		listeners[n] = func() { use(conn) }
	}
}

func listenerRemoved(*Env) func() {
	listeners, n := map[int]func(){}, 0
	return func() {
		n++
		conn := &Object{ID: n}
		listeners[n] = func() { use(conn) }
		delete(listeners, n)
	}
}

var onShutdown []func()

func closureCapturesBig(env *Env) func() {
	return func() {
		big := use(new(Object))
		onShutdown = append(onShutdown, func() { use(big.ID) })
		env.Track(big)
	}
}

func closureCapturesInt(env *Env) func() {
	var onShutdown []func()
	env.Cleanup(func() { use(onShutdown) })
	return func() {
		big := use(new(Object))
		id := big.ID
		onShutdown = append(onShutdown, func() { use(id) })
		env.Track(big)
	}
}

// fields is what a mapper learns about a type.
func fields(v any) []reflect.StructField {
	return reflect.VisibleFields(reflect.TypeOf(v).Elem())
}

var plans sync.Map // what was to be keyed by type

func mapperPerCall(*Env) func() {
	return func() {
		v := new(Object)
		if _, ok := plans.Load(v); !ok {
			plans.Store(v, fields(v))
		}
	}
}

func mapperPerType(*Env) func() {
	var plans sync.Map
	return func() {
		v := use(new(Object))
		if _, ok := plans.Load(reflect.TypeOf(v)); !ok {
			plans.Store(reflect.TypeOf(v), fields(v))
		}
	}
}

func afterFuncPending(*Env) func() {
	return func() {
		o := new(Object)
		time.AfterFunc(time.Hour, func() { use(o) })
	}
}

func afterFuncStopped(*Env) func() {
	return func() {
		o := new(Object)
		defer time.AfterFunc(time.Hour, func() { use(o) }).Stop()
	}
}

func finalizerCycle(*Env) func() {
	return func() {
		a, b := new(Object), new(Object)
		a.Next, b.Next = b, a
		runtime.SetFinalizer(a, func(o *Object) { use(o.ID) })
	}
}

func cleanupCycle(*Env) func() {
	return func() {
		a, b := new(Object), new(Object)
		a.Next, b.Next = b, a
		runtime.AddCleanup(a, func(id int) { use(id) }, a.ID)
	}
}

var backlog list.List

func unboundedQueue(*Env) func() {
	n := 0
	return func() {
		n++
		backlog.PushBack(&Object{ID: n})
		if n%4 == 0 { // the consumer is slow
			backlog.Remove(backlog.Front())
		}
	}
}

func boundedQueue(*Env) func() {
	backlog, n := make(chan *Object, 32), 0
	return func() {
		n++
		select {
		case backlog <- &Object{ID: n}:
		default: // tell the publisher
		}
		if n%4 == 0 {
			<-backlog
		}
	}
}

type requestID struct{}

var loopContext = context.Background()

func contextValueChain(*Env) func() {
	return func() { loopContext = context.WithValue(loopContext, requestID{}, new(Object)) }
}

func contextValueOnce(*Env) func() {
	loopContext := context.Background()
	return func() { use(context.WithValue(loopContext, requestID{}, new(Object))) }
}

// A request carries more than its report needs.
type request struct {
	Object
	header http.Header
	body   []byte
}

func newRequest() *request {
	return &request{header: http.Header{"User-Agent": {"zoo"}}, body: make([]byte, 4096)}
}

// A report waits to be sent.
type report struct {
	request *request
	header  http.Header
}

var reports []report

func requestInReport(env *Env) func() {
	return func() {
		r := newRequest()
		reports = append(reports, report{request: r})
		env.Track(&r.Object)
	}
}

func headersInReport(env *Env) func() {
	var reports []report
	env.Cleanup(func() { use(reports) })
	return func() {
		r := newRequest()
		reports = append(reports, report{header: r.header.Clone()})
		env.Track(&r.Object)
	}
}

var ones []int

func appendInts(*Env) func() {
	return func() { ones = append(ones, 1) }
}

func appendIntsLocal(*Env) func() {
	return func() {
		var ones []int
		for range 64 {
			ones = append(ones, 1)
		}
		use(ones)
	}
}
