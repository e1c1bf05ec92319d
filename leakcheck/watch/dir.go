package watch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
)

const (
	historyFile  = "leaksafe-history.jsonl"
	historyLimit = 1 << 20 // bytes; the older half goes when it is passed
	maxCaptures  = 24      // profiles kept in the folder
	coolDown     = 10 * time.Minute
)

// captureName matches the profiles that are watch's own, and nothing else.
var captureName = regexp.MustCompile(`^leaksafe-\d{8}T\d{6}\.\d{3}Z-(heap-before|heap|goroutine|goroutineleak|retained)\.pb\.gz$`)

// dumpName matches the redacted dumps that are watch's own. They are not served.
var dumpName = regexp.MustCompile(`^leaksafe-\d{8}T\d{6}\.\d{3}Z-redacted\.dump$`)

// A dir is the folder with captures and history. Only names of watch's own are
// written or removed.
type dir struct {
	path        string
	life        int64 // when this life began, in Unix nanoseconds: its name in the history
	past        past
	size        int64 // of the history file
	lastCapture time.Time
}

// A point is a line of the history file.
type point struct {
	Life int64     `json:"life"`
	Time time.Time `json:"time"`
	Up   float64   `json:"up"`
	Used int64     `json:"used"`
	Live int64     `json:"live"`
	RSS  int64     `json:"rss"`
}

// past is what the lives before this one left, the oldest first.
type past []point

// openDir makes the folder, proves that it can be written, and reads the past.
func openDir(path string, now time.Time) (*dir, error) {
	d := &dir{path: path, life: now.UnixNano()}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("watch: Options.Dir cannot be made: %w; name a folder that this process may write", err)
	}
	f, err := os.OpenFile(d.history(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("watch: Options.Dir cannot be written: %w; name a folder that this process may write", err)
	}
	defer f.Close()
	if err := d.readPast(f); err != nil {
		return nil, fmt.Errorf("watch: reading the history of earlier runs: %w; move the file away to begin anew", err)
	}
	return d, nil
}

func (d *dir) history() string { return filepath.Join(d.path, historyFile) }

// readPast takes the lines that are points. A line cut short by a crash is
// passed over.
func (d *dir) readPast(r io.Reader) error {
	s := bufio.NewScanner(io.LimitReader(r, 2*historyLimit))
	for s.Scan() {
		d.size += int64(len(s.Bytes())) + 1
		var p point
		if json.Unmarshal(s.Bytes(), &p) == nil && p.Life != 0 {
			d.past = append(d.past, p)
		}
	}
	return s.Err()
}

// lives sums up the points of each life.
func (p past) lives() []life {
	var out []life
	var current int64
	for _, pt := range p {
		if pt.Life != current || len(out) == 0 {
			current = pt.Life
			out = append(out, life{first: pt.Used})
		}
		l := &out[len(out)-1]
		l.peak = max(l.peak, pt.Used)
		l.last = pt.Used
		l.lasted = seconds(pt.Up)
	}
	return out
}

// remember appends a point to the history, so that a later life sees this one.
func (w *Watcher) remember(s Sample) {
	if w.dir == nil {
		return
	}
	err := w.dir.append(point{Life: w.dir.life, Time: s.Time, Up: s.Up, Used: s.used(), Live: s.Live, RSS: s.RSS})
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
		w.o.Log.Error("watch", "error", err)
	}
	w.problem = err.Error()
}

func (d *dir) append(p point) error {
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if d.size+int64(len(line)) > historyLimit {
		if err := d.halve(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(d.history(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := f.Write(line)
	d.size += int64(n)
	return errors.Join(err, f.Close())
}

// halve drops the older half of the history.
func (d *dir) halve() error {
	text, err := os.ReadFile(d.history())
	if err != nil {
		return err
	}
	text = text[len(text)/2:]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	temp := d.history() + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	d.size = int64(len(text))
	return os.Rename(temp, d.history())
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
	stamp := "leaksafe-" + now.UTC().Format("20060102T150405.000Z")
	var names []string
	write := func(kind string, content []byte) {
		if len(content) == 0 {
			return
		}
		name := stamp + "-" + kind + ".pb.gz"
		if err := os.WriteFile(filepath.Join(w.dir.path, name), content, 0o600); err != nil {
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

// goroutineLeaks is the goroutineleak profile, nil where this runtime has none. The runtime dies when it writes a heap dump after the
// profile has found something.
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

// captures lists the profiles in the folder, the oldest first.
func (d *dir) captures() ([]string, error) { return d.list(captureName) }

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
func (d *dir) prune() error { return d.keep(captureName, maxCaptures) }

// pruneDumps removes the oldest dumps.
func (d *dir) pruneDumps() error { return d.keep(dumpName, maxDumps) }

// removeParts removes what a process that was killed while it read a copy has left. Another one that shares the folder may be at it.
func (d *dir) removeParts(now time.Time) error {
	parts, err := filepath.Glob(filepath.Join(d.path, partName))
	for _, p := range parts {
		if info, e := os.Stat(p); e == nil && now.Sub(info.ModTime()) > coolDown {
			err = errors.Join(err, os.Remove(p))
		}
	}
	return err
}

// keep removes the oldest files but n.
func (d *dir) keep(own *regexp.Regexp, n int) error {
	names, err := d.list(own)
	if err != nil {
		return err
	}
	for len(names) > n {
		if err := os.Remove(filepath.Join(d.path, names[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		names = names[1:]
	}
	return nil
}
