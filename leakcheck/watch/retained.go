package watch

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

// retainedPause is the least time from the end of one copy for the handler to the next.
const retainedPause = 10 * time.Second

// Retained serves what retains the memory of this process, as a pprof profile: in its flame graph a
// box is as wide as what would be freed with it.
//
//	mux.Handle("/debug/leaks/retained", w.Retained())
//	go tool pprof -http=: http://host/debug/leaks/retained
//
// Each GET takes a frozen copy of the process: see [Options.Dir] for what that costs and where it
// is possible. One is taken at a time, and the next at the earliest ten seconds after it;
// otherwise, and near the memory limit, the answer is 503. The profile names types, variables and
// functions, and has no contents of memory. It is not part of [Watcher.Handler]: mount it only
// where operators may look. Where Options.Dir is not set, the dump that is read for it is a file
// without a name in the directory for temporary files.
func (w *Watcher) Retained() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			rw.Header().Set("Allow", http.MethodGet)
			http.Error(rw, "watch: only GET is served here", http.StatusMethodNotAllowed)
			return
		}
		if refuseOtherSite(rw, r) {
			return
		}
		rw.Header().Set("Cache-Control", "no-store")
		profile, err := w.retained()
		if err != nil {
			rw.Header().Set("Retry-After", fmt.Sprint(int(retainedPause.Seconds())))
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		rw.Header().Set("Content-Type", "application/octet-stream")
		rw.Header().Set("Content-Disposition", "attachment; filename=retained.pb.gz")
		_, _ = rw.Write(profile)
	})
}

// errOften says that the handler was asked too often.
var errOften = errors.New("watch: a frozen copy is being read, or was taken less than 10 s ago: ask again")

func (w *Watcher) retained() ([]byte, error) {
	if !w.copier.mu.TryLock() {
		return nil, errOften
	}
	defer w.copier.mu.Unlock()
	if !w.copier.served.IsZero() && time.Since(w.copier.served) < retainedPause {
		return nil, errOften
	}
	defer func() { w.copier.served = time.Now() }()
	in, err := w.takeCopy(nil)
	if err != nil {
		return nil, err
	}
	in.dump.Close()
	return in.profile, nil
}

// takeCopy takes a frozen copy and reads it. The caller closes its dump. copier.mu is held.
func (w *Watcher) takeCopy(sites []Site) (inside, error) {
	before := newMeter(nil).read()
	if w.roomToLook(before) != nil {
		giveBack() // what is garbage takes no room in a copy
		before = newMeter(nil).read()
		if err := w.roomToLook(before); err != nil {
			return inside{}, err
		}
	}
	w.beginReading(before)
	defer w.endReading()
	defer giveBack()
	return w.readCopy(sites)
}

// readCopy is takeCopy where there is room. It is a function of its own so that nothing that it
// has read is alive when memory is given back.
func (w *Watcher) readCopy(sites []Site) (inside, error) {
	if w.limit.bytes > 0 {
		defer debug.SetGCPercent(debug.SetGCPercent(percentMeantime))
	}
	o := ownheap.Options{Name: partName, OnlyFrozen: true, Redact: true}
	if w.dir != nil {
		o.In = w.dir.path
	}
	at := time.Now()
	d, err := ownheap.Take(o)
	if err != nil {
		return inside{}, fmt.Errorf("watch: no frozen copy: %w", err)
	}
	in := read(d, sites)
	in.at, in.dump = at, d.Detach()
	return in, nil
}
