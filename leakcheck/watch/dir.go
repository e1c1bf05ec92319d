package watch

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
)

const (
	maxCaptures = 24 // profiles kept in the folder
	coolDown    = 10 * time.Minute
	stampLayout = "20060102T150405.000Z" // of the time in a file's name, UTC
)

// captureName matches the profiles that are watch's own, and nothing else.
var captureName = regexp.MustCompile(`^leaksafe-\d{8}T\d{6}\.\d{3}Z-(heap-before|heap|goroutine|goroutineleak|retained)\.pb\.gz$`)

// dumpName matches the redacted dumps that are watch's own.
var dumpName = regexp.MustCompile(`^leaksafe-\d{8}T\d{6}\.\d{3}Z-redacted\.dump$`)

// A dir is the folder with captures and history. Only names of watch's own are
// written or removed.
type dir struct {
	path        string
	life        int64 // when this run began, in Unix nanoseconds
	slot        slot
	past        past
	lastCapture time.Time
}

// openDir makes the folder and reads the past. The folder is returned in any case: what cannot be
// written now may be later.
func openDir(path string, now time.Time) (*dir, error) {
	d := &dir{path: path, life: now.UnixNano()}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return d, fmt.Errorf("watch: Options.Dir cannot be made: %w; name a folder that this process may write", err)
	}
	var err error
	if d.slot, err = openSlot(path); err != nil {
		return d, fmt.Errorf("watch: Options.Dir cannot be written: %w; name a folder that this process may write", err)
	}
	points, err := d.slot.read(now)
	d.past = newPast(points)
	return d, err
}

// remember appends a point to the history, so that a later life sees this one.
func (w *Watcher) remember(s Sample) {
	if w.dir == nil {
		return
	}
	err := w.dir.slot.append(point{Life: w.dir.life, Time: s.Time, Up: s.Up, Used: s.used(), Live: s.Live, RSS: s.RSS})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault(err)
}

// fault keeps the last thing that went wrong in Dir, for the page and the log.
// A full disk must not end the watching. w.mu is held.
func (w *Watcher) fault(err error) {
	if err == nil {
		return
	}
	if w.o.Log != nil && w.problem != err.Error() {
		w.o.Log.Warn("watch", "error", err)
	}
	w.problem = err.Error()
}

// capture writes the heap profile, the one from before where there is one, and
// the goroutine profile, unless it did so a short while ago. It returns the
// names of the files. w.mu is held.
//
// leaked asks for the goroutineleak profile too, which makes the runtime collect garbage.
func (w *Watcher) capture(before []byte, leaked bool) []string {
	now := time.Now()
	if !w.dir.lastCapture.IsZero() && now.Sub(w.dir.lastCapture) < coolDown {
		return nil
	}
	w.dir.lastCapture = now
	var names []string
	write := func(kind string, content []byte) {
		if len(content) == 0 {
			return
		}
		name, err := w.dir.create(now, kind, content)
		if err != nil {
			w.fault(err)
			return
		}
		names = append(names, name)
	}
	write("heap-before", before)
	write("heap", heapProfile())
	var goroutines bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&goroutines, 0); err == nil {
		write("goroutine", goroutines.Bytes())
	}
	if leaked {
		write("goroutineleak", goroutineLeaks())
	}
	w.fault(w.dir.prune())
	return names
}

// create writes a capture under a name that no other process has taken. Of a full disk no part of a
// file is left.
func (d *dir) create(now time.Time, kind string, content []byte) (name string, err error) {
	var f *os.File
	for range 1000 { // more processes than that do not share a millisecond
		name = "leaksafe-" + now.UTC().Format(stampLayout) + "-" + kind + ".pb.gz"
		f, err = os.OpenFile(filepath.Join(d.path, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		now = now.Add(time.Millisecond)
	}
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return name, nil
}

// goroutineLeaks is the goroutineleak profile, nil where this runtime has none. The runtime dies
// when it writes a heap dump after the profile has found something.
func goroutineLeaks() []byte {
	p := pprof.Lookup("goroutineleak")
	if p == nil {
		return nil
	}
	lift := ownheap.Forbid()
	var b bytes.Buffer
	if err := p.WriteTo(&b, 0); err != nil {
		return nil
	}
	if found, err := profile.Read(bytes.NewReader(b.Bytes())); err == nil && len(found.Samples) == 0 {
		lift()
	}
	return b.Bytes()
}

// captures lists the profiles and dumps in the folder, the oldest first.
func (d *dir) captures() ([]string, error) {
	profiles, err := d.list(captureName)
	dumps, other := d.list(dumpName)
	names := append(profiles, dumps...)
	slices.Sort(names)
	return names, cmp.Or(err, other)
}

func (d *dir) list(own *regexp.Regexp) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && own.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// prune removes the oldest profiles of watch's own.
func (d *dir) prune() error { return d.keep(captureName, maxCaptures, time.Now()) }

// pruneDumps removes the oldest dumps.
func (d *dir) pruneDumps() error { return d.keep(dumpName, maxDumps, time.Now()) }

// removeParts removes what a process that was killed while it read a copy has left. Another one
// that shares the folder may be at it.
func (d *dir) removeParts(now time.Time) error {
	parts, err := filepath.Glob(filepath.Join(d.path, partName))
	for _, p := range parts {
		if info, e := os.Stat(p); e == nil && now.Sub(info.ModTime()) > coolDown {
			err = errors.Join(err, os.Remove(p))
		}
	}
	return err
}

// stampPattern finds the time in a file's name.
var stampPattern = regexp.MustCompile(`\d{8}T\d{6}\.\d{3}Z`)

// keep removes the oldest files but n. A name from the future is from before the clock was set
// back: it goes first.
func (d *dir) keep(own *regexp.Regexp, n int, now time.Time) error {
	names, err := d.list(own)
	if err != nil {
		return err
	}
	latest := now.Add(time.Minute).UTC().Format(stampLayout)
	slices.SortStableFunc(names, func(a, b string) int {
		a, b = stampPattern.FindString(a), stampPattern.FindString(b)
		switch {
		case a > latest && b <= latest:
			return -1
		case a <= latest && b > latest:
			return 1
		}
		return strings.Compare(a, b)
	})
	for len(names) > n {
		if err := os.Remove(filepath.Join(d.path, names[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		names = names[1:]
	}
	return nil
}
