package watch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/flame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

// A Retainer is a root of the heap, such as a package variable, the goroutines
// that one function created, or pending timers, and what it alone retains.
type Retainer struct {
	Root    string  `json:"root"`              // "main.store (variable)"
	Through string  `json:"through,omitempty"` // the last step that most of it is below
	Site    string  `json:"site,omitempty"`    // the line that allocated most of it, where the heap profile has samples of it
	Bytes   int64   `json:"bytes"`             // that would be freed with it
	Objects int64   `json:"objects"`
	Share   float64 `json:"share"` // of the heap, 0 to 1
}

// String is the retainer in words.
func (r Retainer) String() string {
	verb := "retains"
	if r.several() {
		verb = "retain"
	}
	s := fmt.Sprintf("%s %s %s (%.0f %% of the heap) in %s", r.Root, verb, figure.Bytes(r.Bytes), r.Share*100, figure.Plural(int(r.Objects), "object"))
	if r.Through != "" {
		s += ", most of it through " + r.Through
	}
	if r.Site != "" {
		s += ", allocated at " + r.Site
	}
	return s
}

// several tells whether the root's name is a plural.
func (r Retainer) several() bool {
	first, _, _ := strings.Cut(r.Root, " ")
	return first == "goroutines" || r.Root == "pending timers" || strings.HasPrefix(r.Root, "package variables ") || strings.HasSuffix(r.Root, "stray words on their stacks")
}

// retainersShown is how many retainers a finding has.
const retainersShown = 3

// What reading a copy takes, in bytes: for each object, for each byte of the executable, whose
// symbols and types are read, and besides. Garbage is collected as soon as it is a twentieth of the
// live bytes. Measured on Go 1.26 with an executable of 10 MiB: resident memory grows by 20 MiB
// with few objects, and by 105 MiB more with a million. These numbers are a quarter higher.
const (
	bytesPerObject  = 130
	bytesPerExeByte = 2
	bytesBesides    = 6 << 20
	percentMeantime = 5 // of GOGC
)

// roomShare is the share of what is left below the limit that reading a copy may take.
const roomShare = .75

// An inside is what a frozen copy has shown.
type inside struct {
	at        time.Time // when it was taken
	retainers []Retainer
	path      string        // how the objects of the first site are retained
	profile   []byte        // the retention profile
	dump      *ownheap.File // redacted, until keepCopy
}

// A copier takes frozen copies, one at a time.
type copier struct {
	mu   sync.Mutex
	last time.Time // when one was taken for a finding

	served time.Time // when one was taken for the handler
}

// errRest says that a copy was taken a short while ago.
var errRest = errors.New("watch: a frozen copy was taken less than an hour ago")

// copyPause is the least time between two copies for findings.
const copyPause = time.Hour

// look takes a frozen copy and reads what retains the memory. The program goes on meanwhile. It
// needs Options.Dir, and room: near the limit it gives up and says why. The caller calls keepCopy.
func (w *Watcher) look(sites []Site) (inside, error) {
	if w.dir == nil {
		return inside{}, errors.New("watch: no frozen copy without Options.Dir: its dump needs a place")
	}
	w.copier.mu.Lock()
	defer w.copier.mu.Unlock()
	return w.takeCopy(sites)
}

// read closes nothing.
func read(d *ownheap.Dump, sites []Site) (in inside) {
	tree := d.Tree()
	top, total := flame.Top(tree, 2*retainersShown)
	for _, r := range top {
		if own := strings.Contains(r.Through, "watch.Watcher"); own || len(in.retainers) == retainersShown || r.Bytes*100 < total {
			continue
		}
		in.retainers = append(in.retainers, Retainer{r.Root, r.Through, r.Site, r.Bytes, r.Objects, float64(r.Bytes) / float64(max(total, 1))})
	}
	for _, s := range sites {
		objects := d.ObjectsAllocatedAt(s.Func, s.File, s.Line)
		if len(objects) > 0 {
			in.path = d.Search(objects).Explain(objects, 0).Answer
			break
		}
	}
	var b bytes.Buffer
	p := flame.Of(tree)
	p.Time = time.Now().UnixNano()
	if p.Write(&b) == nil {
		in.profile = b.Bytes()
	}
	return in
}

// needToLook is about how many bytes reading a copy takes.
func needToLook(s Sample) int64 {
	return s.Objects*bytesPerObject + s.Live*percentMeantime/100 + bytesBesides + bytesPerExeByte*exeSize()
}

// exeSize is the size of the executable; 0 where it is not known.
var exeSize = sync.OnceValue(func() int64 {
	exe, err := os.Executable()
	if err != nil {
		return 0
	}
	info, err := os.Stat(exe)
	if err != nil {
		return 0
	}
	return info.Size()
})

// roomToLook refuses a copy whose reading could take the process over its limit, or fill the disk.
func (w *Watcher) roomToLook(s Sample) error {
	need := needToLook(s)
	if free := w.limit.bytes - max(s.RSS, s.used()); w.limit.bytes > 0 && float64(need) > roomShare*float64(free) {
		return fmt.Errorf("watch: no frozen copy: reading it takes about %s, and %s are left below the limit", figure.Bytes(need), figure.Bytes(max(free, 0)))
	}
	folder := os.TempDir()
	if w.dir != nil {
		folder = w.dir.path
	}
	if free := diskFree(folder); free >= 0 && s.Heap*3/2+64<<20 > free {
		return fmt.Errorf("watch: no frozen copy: its dump takes up to %s, and %s are free in %s", figure.Bytes(s.Heap), figure.Bytes(free), folder)
	}
	return nil
}

// partName is the file of a copy that is being read.
const partName = ".leaksafe-copy-*.part"

const (
	maxDumps    = 2       // redacted dumps kept in the folder
	maxDumpSize = 1 << 30 // bytes; a larger one is read and deleted
)

// retainedKind is the kind of capture that a retention profile is.
const retainedKind = "retained"

// keepCopy writes the profile and the dump of a copy to Dir, bounded in number and size, and
// returns the names of the files. On a busy disk it takes some seconds.
func (w *Watcher) keepCopy(in inside) (names []string) {
	if in.dump == nil {
		return nil
	}
	defer in.dump.Close()
	fault := func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fault(err)
	}
	stamp := "leaksafe-" + in.at.UTC().Format(stampLayout)
	if len(in.profile) > 0 {
		name, err := w.dir.create(in.at, retainedKind, in.profile)
		if fault(err); err == nil {
			names = append(names, name)
			stamp = strings.TrimSuffix(name, "-"+retainedKind+".pb.gz") // no other process's
		}
	}
	fault(w.dir.prune())
	if in.dump.Size() > maxDumpSize {
		return names
	}
	name := stamp + "-redacted.dump"
	part := filepath.Join(w.dir.path, strings.Replace(partName, "*", stamp, 1))
	if err := in.dump.Save(part); err != nil {
		fault(err)
		return names
	}
	if err := os.Rename(part, filepath.Join(w.dir.path, name)); err != nil {
		fault(errors.Join(err, os.Remove(part)))
		return names
	}
	fault(w.dir.pruneDumps())
	return append(names, name)
}

// explain adds to a finding what retains the memory, before anybody is told of it. It takes at most
// one copy an hour.
func (w *Watcher) explain(f Finding, now time.Time) Finding {
	w.copier.mu.Lock()
	rest := !w.copier.last.IsZero() && now.Sub(w.copier.last) < copyPause
	if !rest {
		w.copier.last = now
	}
	w.copier.mu.Unlock()
	err := errRest
	var in inside
	if !rest {
		in, err = w.lookInto(f.Sites)
	}
	captures := w.keepCopy(in)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		f.NoRetainers = err.Error()
	} else {
		f.Retainers, f.RetainedBy, f.NoRetainers = in.retainers, in.path, ""
		f.Captures = append(f.Captures, captures...)
		w.retainers, w.retainersAt = in.retainers, in.at
		if s, ok := w.latest(); ok {
			w.early.tryAt(s)
		}
	}
	for i := range w.findings {
		if x := &w.findings[i]; x.Time.Equal(f.Time) && x.Signal == f.Signal {
			x.RetainedBy, x.Retainers, x.NoRetainers, x.Captures = f.RetainedBy, f.Retainers, f.NoRetainers, f.Captures
		}
	}
	return f
}

// giveBack returns to the system what reading a copy has taken.
func giveBack() { debug.FreeOSMemory() }
