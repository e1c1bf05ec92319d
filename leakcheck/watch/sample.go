package watch

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A Sample is what the process looked like at one moment. Sizes are bytes.
// What this system cannot measure is -1: RSS, Outside and Files are known on
// Linux only.
type Sample struct {
	Time       time.Time `json:"time"`       // by the wall clock, for people
	Up         float64   `json:"up"`         // seconds since Start by the monotonic clock, which no one sets: what the rules use
	Live       int64     `json:"live"`       // heap that survived the last collection
	Heap       int64     `json:"heap"`       // heap now, garbage included
	Objects    int64     `json:"objects"`    // heap objects now, garbage included
	Goal       int64     `json:"goal"`       // heap size at which the next collection ends
	Fixed      int64     `json:"fixed"`      // what the runtime holds besides the heap: stacks, metadata
	RSS        int64     `json:"rss"`        // resident memory, as the kernel counts it
	Outside    int64     `json:"outside"`    // RSS less what the runtime holds: cgo, mmap
	Goroutines int64     `json:"goroutines"` //
	Files      int64     `json:"files"`      // open file descriptors
	Collection float64   `json:"collection"` // share of the CPU time since the last sample that collection took, 0 to 1
	Cycles     int64     `json:"cycles"`     // collections since the process began
	Allocated  int64     `json:"allocated"`  // bytes allocated since the process began
	Traffic    int64     `json:"traffic"`    // what Options.Traffic said; -1 where there is none
}

// The metrics of a sample, in the order of names.
const (
	mLive = iota
	mHeap
	mObjects
	mGoal
	mTotal
	mReleased
	mUnused
	mFree
	mGoroutines
	mCycles
	mAllocated
	mCollectionCPU
	mTotalCPU
	mGOGC
)

var names = [...]string{
	mLive:          "/gc/heap/live:bytes",
	mHeap:          "/memory/classes/heap/objects:bytes",
	mObjects:       "/gc/heap/objects:objects",
	mGoal:          "/gc/heap/goal:bytes",
	mTotal:         "/memory/classes/total:bytes",
	mReleased:      "/memory/classes/heap/released:bytes",
	mUnused:        "/memory/classes/heap/unused:bytes",
	mFree:          "/memory/classes/heap/free:bytes",
	mGoroutines:    "/sched/goroutines:goroutines",
	mCycles:        "/gc/cycles/total:gc-cycles",
	mAllocated:     "/gc/heap/allocs:bytes",
	mCollectionCPU: "/cpu/classes/gc/total:cpu-seconds",
	mTotalCPU:      "/cpu/classes/total:cpu-seconds",
	mGOGC:          "/gc/gogc:percent",
}

// A meter reads samples without stopping the world. It is used by one
// goroutine at a time.
type meter struct {
	began         time.Time
	traffic       func() int64
	values        [len(names)]metrics.Sample
	collectionCPU float64
	totalCPU      float64
}

func newMeter(traffic func() int64) *meter {
	m := &meter{began: time.Now(), traffic: traffic}
	for i, name := range names {
		m.values[i].Name = name
	}
	return m
}

func (m *meter) read() Sample {
	metrics.Read(m.values[:])
	now := time.Now()
	s := Sample{
		Time:       now,
		Up:         now.Sub(m.began).Seconds(),
		Live:       m.integer(mLive),
		Heap:       m.integer(mHeap),
		Objects:    m.integer(mObjects),
		Goal:       m.integer(mGoal),
		Goroutines: m.integer(mGoroutines),
		Cycles:     m.integer(mCycles),
		Allocated:  m.integer(mAllocated),
		Collection: m.collection(),
		RSS:        residentBytes(),
		Files:      openFiles(),
		Outside:    -1,
		Traffic:    -1,
	}
	held := m.integer(mTotal) - m.integer(mReleased)
	s.Fixed = held - s.Heap - m.integer(mUnused) - m.integer(mFree)
	if s.RSS >= 0 {
		s.Outside = max(0, s.RSS-held)
	}
	if m.traffic != nil {
		s.Traffic = m.traffic()
	}
	return s
}

func (m *meter) integer(i int) int64 {
	if m.values[i].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(min(m.values[i].Value.Uint64(), math.MaxInt64))
}

// collection is the share since the call before. The runtime brings these
// times up to date at each collection only.
func (m *meter) collection() float64 {
	gc, total := m.float(mCollectionCPU), m.float(mTotalCPU)
	share := 0.0
	if passed := total - m.totalCPU; passed > 0 && m.totalCPU > 0 {
		share = (gc - m.collectionCPU) / passed
	}
	m.collectionCPU, m.totalCPU = gc, total
	return min(max(share, 0), 1)
}

func (m *meter) float(i int) float64 {
	if m.values[i].Value.Kind() != metrics.KindFloat64 {
		return 0
	}
	return m.values[i].Value.Float64()
}

// A limit is the memory the process may use, and where that number is from.
type limit struct {
	bytes  int64
	source string
	// soft: the runtime keeps to it by collecting more often, so that live heap
	// alone reaches it. Otherwise the heap reaches it at its goal, before a collection.
	soft bool
	// hard: the kernel kills a process that passes it, or somebody said so.
	hard bool
}

// findLimit takes the configured limit, GOMEMLIMIT, the cgroup's limit or the
// machine's memory, in this order. It never sets GOMEMLIMIT.
func findLimit(configured int64) limit {
	memlimit := debug.SetMemoryLimit(-1)
	isSet := memlimit < math.MaxInt64
	switch {
	case configured > 0:
		return limit{configured, "Options.Limit", isSet && memlimit <= configured, true}
	case isSet:
		return limit{memlimit, "GOMEMLIMIT", true, false}
	}
	if n := cgroupLimit(); n > 0 {
		return limit{n, "the cgroup's limit", false, true}
	}
	return limit{machineMemory(), "the machine's memory", false, false}
}

// used is what s holds that no collection frees: what counts against the limit.
func (s Sample) used() int64 {
	return s.Live + s.Fixed + max(0, s.Outside)
}
