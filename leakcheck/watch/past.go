package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	historyName  = "leaksafe-history"
	historyLimit = 1 << 20 // bytes of one history file; the older half goes when it is passed
	maxSlots     = 256     // processes that share a folder and write a history
	maxAside     = 3       // damaged history files that are kept
	pastShown    = 1024    // points of earlier runs that the page gets
	maxUsed      = 1 << 50 // bytes; a point with more is damaged
)

// asideName matches history files that were set aside because they were damaged.
var asideName = regexp.MustCompile(`^leaksafe-history(-\d+)?\.damaged-\d{8}T\d{6}\.\d{3}Z$`)

// A slot is a history file that one process at a time writes. A process takes the first slot that
// no other one holds, so that processes that share a folder do not mix their histories, and a
// restart finds what the process before it wrote.
type slot struct {
	file string
	lock io.Closer // nil: the system or the file system has no locks
	size int64     // of the file
}

// A point is a line of the history file.
type point struct {
	Life int64     `json:"life"` // when the run began, in Unix nanoseconds: its name in the history
	Time time.Time `json:"time"`
	Up   float64   `json:"up"`
	Used int64     `json:"used"`
	Live int64     `json:"live"`
	RSS  int64     `json:"rss"`
}

// valid tells a point from a line that is damaged in a way that JSON does not see.
func (p point) valid() bool {
	return p.Life != 0 && !p.Time.IsZero() && p.Up >= 0 && p.Used >= 0 && p.Used < maxUsed && p.Live < maxUsed && p.RSS < maxUsed
}

// past is what the runs before this one left, the oldest first.
type past struct {
	points []point // at most pastShown
	runs   []life
}

func (p past) lives() []life { return p.runs }

// newPast sums up the points of each run, and keeps some of the points.
func newPast(points []point) past {
	var p past
	for from := 0; from < len(points); {
		to := from + 1
		for to < len(points) && points[to].Life == points[from].Life {
			to++
		}
		p.runs = append(p.runs, newLife(points[from:to]))
		from = to
	}
	for i := range min(len(points), pastShown) {
		p.points = append(p.points, points[i*len(points)/min(len(points), pastShown)])
	}
	return p
}

// newLife sums up the points of one run.
func newLife(points []point) life {
	end := points[len(points)-1]
	l := life{first: points[0].Used, last: end.Used, lasted: seconds(end.Up)}
	for _, pt := range points {
		l.peak = max(l.peak, pt.Used)
		for i := range l.quarters {
			if pt.Up <= end.Up*float64(i+1)/float64(len(l.quarters)) {
				l.quarters[i] = pt.Used
			}
		}
	}
	return l
}

// openSlot takes the first slot of a folder that no other process holds.
func openSlot(folder string) (slot, error) {
	for i := range maxSlots {
		name := historyName
		if i > 0 {
			name = fmt.Sprintf("%s-%d", historyName, i+1)
		}
		lock, err := lockFile(filepath.Join(folder, name+".lock"))
		if errors.Is(err, errLocked) {
			continue
		}
		return slot{file: filepath.Join(folder, name+".jsonl"), lock: lock}, err
	}
	return slot{}, fmt.Errorf("watch: %d processes write to Options.Dir %s already: this one keeps no history; give each service a folder of its own", maxSlots, folder)
}

// errLocked says that another process holds a slot.
var errLocked = errors.New("locked")

func (s *slot) close() {
	if s.lock != nil {
		_ = s.lock.Close() // which ends the lock
		s.lock = nil
	}
}

// read returns the points of a history file. A file that is not what append has written, or that
// cannot be read, is set aside under another name, and what could be read of it begins a new one.
// The error says so.
func (s *slot) read(now time.Time) ([]point, error) {
	text, whole, err := readTail(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	points, sound := parsePoints(text)
	if err == nil && sound && whole {
		s.size = int64(len(text))
		return points, nil
	}
	return points, s.setAside(points, err, now)
}

// readTail reads the end of a file; whole is false where that is not all of it.
func readTail(file string) (text []byte, whole bool, err error) {
	info, err := os.Stat(file) // before it is opened: opening a pipe or a device may block
	if err != nil {
		if _, e := os.Lstat(file); e == nil {
			err = fmt.Errorf("it cannot be followed: %v", err)
		}
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("it is not a regular file: %v", info.Mode())
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	from := max(0, info.Size()-2*historyLimit)
	text, err = io.ReadAll(io.NewSectionReader(f, from, 2*historyLimit))
	return text, from == 0, err
}

// parsePoints returns the lines that are points; sound is false where there is anything else.
func parsePoints(text []byte) (points []point, sound bool) {
	sound = len(text) == 0 || text[len(text)-1] == '\n'
	for line := range bytes.Lines(text) {
		line = bytes.Trim(line, "\x00\r\n") // zeros are what a power loss leaves
		var p point
		if json.Unmarshal(line, &p) == nil && p.valid() {
			points = append(points, p)
		} else {
			sound = false
		}
	}
	return points, sound
}

// setAside renames the history file and begins a new one with some points.
func (s *slot) setAside(points []point, cause error, now time.Time) error {
	reason := "is damaged"
	if cause != nil {
		reason = fmt.Sprintf("cannot be read (%v)", cause)
	}
	aside := asideFor(s.file, now)
	if err := os.Rename(s.file, aside); err != nil {
		return fmt.Errorf("watch: the history file %s %s and cannot be renamed: %w; this run keeps no history: remove the file", s.file, reason, err)
	}
	warning := fmt.Errorf("watch: the history file %s %s: it is now %s, and %d of its points were taken over", s.file, reason, aside, len(points))
	folder := dir{path: filepath.Dir(s.file)}
	return errors.Join(warning, s.write(points), folder.keep(asideName, maxAside, now))
}

// asideFor is the name for a damaged history file: one that is free, so that no file from the same
// millisecond is overwritten.
func asideFor(file string, now time.Time) string {
	for {
		aside := strings.TrimSuffix(file, ".jsonl") + ".damaged-" + now.UTC().Format(stampLayout)
		if _, err := os.Lstat(aside); err != nil {
			return aside
		}
		now = now.Add(time.Millisecond)
	}
}

// write replaces the history file by one with some points, the newest if they are too many.
func (s *slot) write(points []point) error {
	var text []byte
	for _, p := range slices.Backward(points) {
		line, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if len(text)+len(line) >= historyLimit/2 {
			break
		}
		text = append(append(line, '\n'), text...)
	}
	return s.replace(text)
}

// replace puts a new file in the place of the history file, whole or not at all.
func (s *slot) replace(text []byte) error {
	temp := s.file + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, s.file); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	s.size = int64(len(text))
	return nil
}

// append adds a point. When the disk is full it takes back what it has written of the line.
func (s *slot) append(p point) error {
	if s.file == "" || math.IsNaN(p.Up) || math.IsInf(p.Up, 0) {
		return nil // no slot was free, which was said
	}
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if s.size+int64(len(line)) > historyLimit {
		if err := s.halve(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(s.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	n, err := f.Write(line)
	switch {
	case err == nil:
		s.size = end + int64(n)
	case n > 0:
		err = errors.Join(err, f.Truncate(end))
	}
	return errors.Join(err, f.Close())
}

// halve drops the older half of the history.
func (s *slot) halve() error {
	text, _, err := readTail(s.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text = text[len(text)/2:]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return s.replace(text)
}
