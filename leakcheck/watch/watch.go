package watch

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

// ExitPressure is the code with which a process should end after
// [Options.OnPressure] has drained it: EX_TEMPFAIL of sysexits.h, which a
// supervisor answers with a restart.
const ExitPressure = 75

// Options say what to watch. The zero value watches with an interval of 10 s
// and shows the last 24 hours.
type Options struct {
	// Interval is the time between two samples; 10 s where it is 0. A window of
	// the rule is eight samples or more, and ten windows make a finding.
	Interval time.Duration

	// History is how far back the page and the JSON go; 24 h where it is 0.
	// Older samples are kept at coarser steps: memory does not depend on it.
	History time.Duration

	// Limit is the memory this process may use, in bytes. Where it is 0, it is
	// GOMEMLIMIT, else the cgroup's limit, else the machine's memory. Watch
	// never sets GOMEMLIMIT. Where several processes share a machine give each
	// its share.
	Limit int64

	// Floor is the growth, in bytes, that is too small to be a finding; 1 MiB
	// where it is 0.
	Floor int64

	// Traffic returns a counter that grows with the work done, such as requests
	// served. Where it is nil, allocated bytes stand in for it. It is called
	// once a sample, from one goroutine.
	Traffic func() int64

	// OnFinding is called for each new finding, from a goroutine of its own, one
	// call at a time.
	OnFinding func(Finding)

	// OnPressure is called once when what no collection can free passes 80 % of
	// the limit, and again only after it has fallen below 60 %. It runs in a
	// goroutine of its own: stop taking work, drain, and end the process with
	// [ExitPressure]; a supervisor starts it again.
	OnPressure func(Pressure)

	// Dir is a folder for profiles taken at findings and for the history that
	// outlives a restart. It is made where it does not exist. Files in it that
	// are not watch's own are left alone. Empty: nothing is written.
	//
	// The folder holds at most 24 profiles, 2 dumps, and a history of 1 MiB for each process that
	// shares it; up to 256 processes may. A history file that is damaged is renamed to
	// NAME.damaged-TIME, and what can be read of it is used; three such files are kept. When the
	// disk is full or the folder is gone, watch logs it once, shows it on the page, and tries again
	// at the next point.
	//
	// With it, watch takes a frozen copy of the process to see what retains the memory: at a
	// finding, at most once an hour, and near the limit. The program goes on meanwhile, but for the
	// time in which the kernel copies its page tables: some 50 ms per GB. The retention profile and
	// the redacted dump of the copy, which has no strings and no other contents, stay in the
	// folder; the leakcheck command reads the dump, other programs cannot. Linux on amd64 and arm64
	// only, and not for a program that is linked with -s or -w.
	//
	// Reading a copy takes memory for some seconds: about twice the size of the executable, 6 MiB,
	// 130 bytes an object, and a twentieth of the live heap. A copy is only taken where three
	// quarters of what is left below the limit are more than that. Under a small limit there is no
	// such room at the pressure. Then watch takes copies before: when a quarter of the limit is
	// used, and each time that use has grown by an eighth, at most five in an hour. The evidence at
	// the pressure says what the last of them has shown, and when. With an executable of 10 MiB
	// and objects of 4 KiB that works from a limit of about 64 MiB on, and a copy at the pressure
	// from about 300 MiB on. Where no copy could be taken, the evidence names the lines that
	// allocate most, and says why.
	//
	// What reading a copy takes is no growth and no pressure: watch leaves it out of findings,
	// OnPressure and the evidence until it is given back. Where it takes so much that the process
	// could be killed meanwhile, TerminationLog has what is known before.
	Dir string

	// ServeFiles lets Handler serve the profiles and the redacted dumps in Dir. They say more of
	// the program than the page does: all its functions and types, and the sizes of its data. Set
	// it only where whoever may see the page may see that too.
	ServeFiles bool

	// TerminationLog is the file for the reason of the end: at 80 % of the limit watch writes
	// there, and to Log, what grows and what retains most, and empties it when memory falls again.
	// Under a small limit it also has what is known while watch reads a frozen copy. Empty:
	// /dev/termination-log, which Kubernetes reads, where it can be written. "none": no file.
	TerminationLog string

	// Log receives a line an interval, and the findings as warnings. nil: no lines.
	Log *slog.Logger
}

// Pressure is the state in which OnPressure is called.
type Pressure struct {
	Used        int64  // bytes that no collection frees: live heap, the runtime's own, and outside the heap
	Limit       int64  // bytes
	LimitSource string // "Options.Limit", "GOMEMLIMIT", "the cgroup's limit" or "the machine's memory"
	Sample      Sample
}

// A mark is a moment with a name on the graph.
type mark struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

const (
	maxMarks    = 64
	maxFindings = 32
	pressureAt  = 0.80
	pressureOff = 0.60
	// Collection that takes a quarter of the CPU in every window is a finding.
	collectionShare = 0.25
	// Fewer goroutines or descriptors than this more are no finding.
	countFloor = 20
)

// A Watcher samples the process that it runs in. Create it with [Start]; all
// its methods may be called from any goroutine.
type Watcher struct {
	o     Options
	limit limit
	dir   *dir // nil without Options.Dir

	mu        sync.Mutex
	history   history
	marks     []mark
	findings  []Finding
	open      map[string]*standing // signals whose finding stands
	before    [levels]baseline     // what later sites and profiles are compared with, a level
	pressed   bool
	evident   bool       // evidence was written, and memory has not fallen since
	early     early      // copies below the pressure, because there will be no room for one at it
	reading   *reading   // a frozen copy is being read; otherwise nil
	retainers []Retainer // as the last copy has shown them
	// retainersAt is when that copy was taken.
	retainersAt time.Time
	// lastEvidence is when a copy was last taken for the evidence.
	lastEvidence time.Time
	problem      string // the last thing that could not be written

	expected expected

	termination string // file, or ""
	copies      bool   // frozen copies are taken
	copier      copier
	lookInto    func([]Site) (inside, error) // look, but in a test
	rulesAlone  bool                         // in a test: no profile of this process is taken

	calls    chan func() // OnFinding, one at a time
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
}

// Start begins to watch. The caller owns the Watcher and calls its Stop. The error says which
// option makes no sense. A Dir or a TerminationLog that cannot be used, or a damaged file in Dir,
// is no error: watch says so in Log and on the page, and goes on.
func Start(o Options) (*Watcher, error) {
	w, err := newWatcher(o)
	if err != nil {
		return nil, err
	}
	if w.copies = w.dir != nil; w.copies {
		w.done.Go(ownheap.Prepare)
	}
	w.done.Go(w.run)
	w.done.Go(w.call)
	return w, nil
}

// newWatcher prepares a Watcher that does not sample yet.
func newWatcher(o Options) (*Watcher, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	w := &Watcher{
		o:     o,
		limit: findLimit(o.Limit),
		open:  make(map[string]*standing),
		calls: make(chan func(), maxFindings),
		stop:  make(chan struct{}),
	}
	w.lookInto = w.look
	w.expected.init()
	var err error
	w.termination, err = findTermination(o.TerminationLog)
	w.fault(err)
	if o.Dir != "" {
		w.dir, err = openDir(o.Dir, time.Now())
		w.fault(errors.Join(err, w.dir.removeParts(time.Now())))
		w.judgeRestarts()
	}
	return w, nil
}

func (o *Options) check() error {
	switch {
	case o.Interval < 0:
		return fmt.Errorf("watch: Options.Interval is %v: give a positive interval, or 0 for 10 s", o.Interval)
	case o.History < 0:
		return fmt.Errorf("watch: Options.History is %v: give a positive time, or 0 for 24 h", o.History)
	case o.Limit < 0:
		return fmt.Errorf("watch: Options.Limit is %d: give bytes, or 0 to find the limit", o.Limit)
	case o.Floor < 0:
		return fmt.Errorf("watch: Options.Floor is %d: give bytes, or 0 for 1 MiB", o.Floor)
	}
	if o.Interval == 0 {
		o.Interval = 10 * time.Second
	}
	if o.History == 0 {
		o.History = 24 * time.Hour
	}
	if o.Floor == 0 {
		o.Floor = 1 << 20
	}
	return nil
}

// Stop ends the sampling and returns when no goroutine of the Watcher is left
// but one that is inside OnPressure. It may be called more than once, but not from
// inside OnFinding, which it waits for.
func (w *Watcher) Stop() {
	w.stopOnce.Do(func() { close(w.stop) })
	w.done.Wait()
	if w.dir != nil {
		w.dir.slot.close()
	}
}

// Mark puts a named moment on the graph, such as a deployment. The last 64 are kept.
func (w *Watcher) Mark(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks = append(w.marks, mark{time.Now(), text})
	if len(w.marks) > maxMarks {
		w.marks = w.marks[1:]
	}
}

// Findings returns what has been found, the oldest first; the last 32 are kept.
func (w *Watcher) Findings() []Finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Finding(nil), w.findings...)
}

// Latest returns the newest sample, for an exporter of metrics; false before the first.
func (w *Watcher) Latest() (Sample, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest()
}

// latest is Latest with w.mu held.
func (w *Watcher) latest() (Sample, bool) {
	l := &w.history.levels[0]
	if len(l.ring) == 0 {
		return Sample{}, false
	}
	return l.at(len(l.ring) - 1).last, true
}

// Pressure returns what [Options.OnPressure] would be told now, for an exporter of metrics; false
// before the first sample. Limit is 0 where none is known.
func (w *Watcher) Pressure() (Pressure, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.latest()
	return Pressure{Used: w.reading.without(s).used(), Limit: w.limit.bytes, LimitSource: w.limit.source, Sample: s}, ok
}

// Retainers returns what retained most of the memory in the last frozen copy, at most three roots;
// none before there was one.
func (w *Watcher) Retainers() []Retainer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Retainer(nil), w.retainers...)
}

func (w *Watcher) run() {
	m := newMeter(w.o.Traffic)
	tick := time.NewTicker(w.o.Interval)
	defer tick.Stop()
	between := newMeter(nil)
	often := time.NewTicker(min(w.o.Interval, pressureInterval))
	defer often.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.take(m.read())
		case <-often.C:
			if w.close() {
				w.check(between.read())
			}
		}
	}
}

// check compares memory with the limit between two samples.
func (w *Watcher) check(s Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.press(s)
	w.lookEarly(s)
}

// call runs the callbacks, so that a slow one does not stop the sampling.
func (w *Watcher) call() {
	for {
		select {
		case <-w.stop:
			return
		case f := <-w.calls:
			f()
		}
	}
}

// take adds a sample and judges what it completes.
func (w *Watcher) take(s Sample) {
	w.mu.Lock()
	judged := w.reading.without(s)
	if w.reading != nil {
		judged.Live = unknown // what the program holds and what the reading holds cannot be told apart exactly
	}
	completed := w.history.add(s, judged)
	for i := 1; i <= completed; i++ {
		w.judge(i)
	}
	w.press(s)
	w.lookEarly(s)
	w.mu.Unlock()
	if completed >= 1 {
		w.remember(s)
	}
	w.log(s)
}

func (w *Watcher) log(s Sample) {
	if w.o.Log == nil {
		return
	}
	w.o.Log.Info("memory", "rss", s.RSS, "heap", s.Heap, "live", s.Live, "outside", s.Outside,
		"goroutines", s.Goroutines, "files", s.Files, "collection", s.Collection)
}
