package watch

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

// terminationFile is where Kubernetes reads why a container ended.
const terminationFile = "/dev/termination-log"

// retainersFresh is for how long the evidence gives no time for what a copy has shown.
const retainersFresh = 10 * time.Second

// maxTermination is how much of it Kubernetes keeps.
const maxTermination = 4096

// pressureInterval is how often memory is compared with the limit once closeAt of it is used.
const (
	pressureInterval = time.Second
	closeAt          = .5
)

// close tells whether so much was used at the last sample that memory is worth a look between two
// samples.
func (w *Watcher) close() bool {
	s, ok := w.Latest()
	from := closeAt
	if w.tight(s) {
		from = earlyFrom
	}
	return ok && w.limit.bytes > 0 && float64(max(s.used(), s.RSS)) > from*float64(w.limit.bytes)
}

// near tells whether memory is close to the limit: what no collection can free, or where the
// runtime does not know the limit, all that is resident, since the kernel counts garbage too.
func (w *Watcher) near(s Sample) bool {
	if w.limit.bytes == 0 {
		return false
	}
	used := s.used()
	if !w.limit.soft && w.limit.hard {
		used = max(used, s.RSS)
	}
	return float64(used) >= pressureAt*float64(w.limit.bytes)
}

// press writes what is known before the process may be killed, and calls OnPressure. What reading a
// frozen copy takes is no pressure: it passes. w.mu is held.
func (w *Watcher) press(s Sample) {
	if w.limit.bytes == 0 {
		return
	}
	s = w.reading.without(s)
	if w.near(s) && !w.evident {
		w.evident = true
		w.leaveEvidence(s)
	}
	share := float64(s.used()) / float64(w.limit.bytes)
	switch {
	case !w.pressed && share >= pressureAt:
		w.pressed = true
		if w.o.OnPressure != nil {
			p := Pressure{Used: s.used(), Limit: w.limit.bytes, LimitSource: w.limit.source, Sample: s}
			go w.o.OnPressure(p)
		}
	case share < pressureOff && (w.limit.soft || float64(s.RSS) < pressureOff*float64(w.limit.bytes)):
		if w.evident {
			w.leaveMessage("") // it was not the end
		}
		w.pressed, w.evident = false, false
	}
}

// leaveEvidence writes, in this order: what is known already to the log and the termination
// message, the profiles to Dir, and then, from a frozen copy, what retains the memory. The first is
// a matter of milliseconds, the last of seconds. There is one copy in ten minutes: memory that
// falls and rises again would have one taken each time. w.mu is held.
func (w *Watcher) leaveEvidence(s Sample) {
	w.tell(w.evidence(nearLimit, s, w.retainers, nil))
	if w.dir == nil {
		return
	}
	w.capture(nil, false)
	if now := time.Now(); w.copies && now.Sub(w.lastEvidence) >= coolDown {
		w.lastEvidence = now
		w.done.Go(func() { w.explainPressure(s) })
	}
}

// explainPressure adds to the evidence what a frozen copy shows.
func (w *Watcher) explainPressure(s Sample) {
	in, err := w.lookInto(nil)
	defer w.keepCopy(in) // afterwards: it may take longer than the process lives
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.retainers, w.retainersAt = in.retainers, in.at
	}
	if w.evident { // memory has not fallen meanwhile
		w.tell(w.evidence(nearLimit, s, w.retainers, err))
	}
}

// tell writes a text to the log and the termination message. w.mu is held.
func (w *Watcher) tell(text string) {
	if w.o.Log != nil {
		w.o.Log.Error("memory pressure", "evidence", text)
	}
	w.leaveMessage(text)
}

// leaveMessage writes the termination message; "" empties it. w.mu is held.
func (w *Watcher) leaveMessage(text string) {
	if w.termination != "" {
		w.fault(writeOver(w.termination, text))
	}
}

// nearLimit is what the evidence begins with.
const nearLimit = "memory is near the limit"

// evidence is what a person needs to know when the process is gone. w.mu is held.
func (w *Watcher) evidence(what string, s Sample, retainers []Retainer, noCopy error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "leaksafe: %s of %s (%s): resident %s, live heap %s, outside the Go heap %s, %d goroutines\n",
		what, figure.Bytes(w.limit.bytes), w.limit.source, sizeOr(s.RSS), figure.Bytes(s.Live), sizeOr(s.Outside), s.Goroutines)
	if s.Collection >= collectionShare {
		fmt.Fprintf(&b, "the collector takes %.0f %% of the CPU", s.Collection*100)
		if now, best, unit := w.throughput(); best > 0 {
			fmt.Fprintf(&b, ": %s", workText(now, best, unit))
		}
		b.WriteByte('\n')
	}
	if n := len(w.findings); n > 0 {
		fmt.Fprintf(&b, "found at %s: %s\n", w.findings[n-1].Time.UTC().Format(time.RFC3339), w.findings[n-1])
	}
	if age := time.Since(w.retainersAt); len(retainers) > 0 && age > retainersFresh {
		fmt.Fprintf(&b, "what retained the memory at %s:\n", w.retainersAt.UTC().Format(time.RFC3339))
	}
	for i, r := range retainers {
		fmt.Fprintf(&b, "%d. %s\n", i+1, r)
	}
	if len(retainers) == 0 {
		for i, x := range heapSites().sorted() {
			if i == retainersShown {
				break
			}
			fmt.Fprintf(&b, "%d. allocated at %s (%s): %s\n", i+1, x.Func, x.Place(), figure.Bytes(x.Bytes))
		}
	}
	if noCopy != nil {
		fmt.Fprintln(&b, noCopy)
	}
	if w.early.err != nil && len(retainers) == 0 {
		fmt.Fprintf(&b, "at %s: %v\n", w.early.at.UTC().Format(time.RFC3339), w.early.err)
	}
	return b.String()
}

// The units of work.
const (
	unitRequests = "requests"
	unitBytes    = "bytes allocated"
)

// throughput is the work done a second, lately and at its best; 0 where it is not known. w.mu is
// held.
func (w *Watcher) throughput() (now, best float64, unit string) {
	unit = unitBytes
	if w.o.Traffic != nil {
		unit = unitRequests
	}
	l := &w.history.levels[1]
	for i := 1; i < len(l.ring); i++ {
		if d := l.at(i).last.Up - l.at(i-1).last.Up; d > 0 {
			now = l.at(i).work(l.at(i-1)) / d
			best = max(best, now)
		}
	}
	return now, best, unit
}

// findTermination is the file for the termination message; "" for none.
func findTermination(configured string) (string, error) {
	switch configured {
	case "none":
		return "", nil
	case "":
		f, err := os.OpenFile(terminationFile, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return "", nil // not in a container
		}
		return terminationFile, f.Close()
	}
	f, err := os.OpenFile(configured, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return "", fmt.Errorf("watch: Options.TerminationLog cannot be written: %w; name a file that this process may write, or \"none\"", err)
	}
	return configured, f.Close()
}

// writeOver replaces what a file holds, in place: the container's file is a mount and cannot be
// renamed over.
func writeOver(file, text string) error {
	if len(text) > maxTermination {
		text = text[:maxTermination-4] + "…\n"
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
