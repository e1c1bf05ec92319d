// Package baseline is the file of known leaks.
package baseline

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// The baseline file lists the leaks that were known when a code base began to
// check: one line each, "kind package key", fields separated by tabs. Lines
// that begin with # are comments. LEAKSAFE_BASELINE names it, relative to the
// module's root; with LEAKSAFE_BASELINE_UPDATE=1 a leak that is not in it is
// added instead of failing its test.
//
// The packages of one `go test ./...` run at the same time and share the file.
// Each adds lines of its own package only, with one write to a file opened for
// appending, so that none needs to read what another adds. A write that crosses
// a page can be seen by halves: a last line without its end is read again.
type File struct {
	file   string
	update bool

	mu    sync.Mutex
	lines map[string]bool
	err   error
}

var Open = sync.OnceValue(func() *File {
	file := os.Getenv("LEAKSAFE_BASELINE")
	if file == "" {
		return nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(source.ModuleRoot(), file)
	}
	return Read(file, os.Getenv("LEAKSAFE_BASELINE_UPDATE") == "1")
})

func Read(file string, update bool) *File {
	b := &File{file: file, update: update}
	var err error
	for range readings {
		var unfinished bool
		if b.lines, unfinished, err = read(file); err == nil || !unfinished {
			break
		}
		time.Sleep(pause)
	}
	if err != nil && !(update && os.IsNotExist(err)) {
		b.fail(err)
	}
	return b
}

// Another process finishes its line within microseconds, if it is not stopped.
const (
	readings = 100
	pause    = 10 * time.Millisecond
)

// read returns the lines of a baseline file. unfinished says that only the last
// line is not one, and that it has no end.
func read(file string) (lines map[string]bool, unfinished bool, err error) {
	lines = map[string]bool{}
	text, err := os.ReadFile(file)
	if err != nil {
		return lines, false, err
	}
	n := 0
	for whole := range strings.Lines(string(text)) {
		line := strings.TrimRight(whole, "\r\n")
		n++
		if line != "" && !strings.HasPrefix(line, "#") && strings.Count(line, "\t") < 2 {
			return map[string]bool{}, !strings.HasSuffix(whole, "\n"), fmt.Errorf("LEAKSAFE_BASELINE: %s is not a baseline file: line %d is not \"kind, package, key\", separated by tabs. Name a file that LEAKSAFE_BASELINE_UPDATE=1 wrote", filepath.Base(file), n)
		}
		lines[line] = true
	}
	return lines, false, nil
}

// fail says once that the file cannot be used: every leak then counts as new.
func (b *File) fail(err error) {
	b.err = err
	fmt.Fprintf(os.Stderr, "leakcheck: baseline: %v\n", err)
}

// Known reports whether the baseline file lists the leak, or has just taken it
// in. kind is "goroutine", "file" or "growth". key must stay the same from run to
// run, and when lines above it are edited: name functions, not lines. Do not ask
// for a planted leak.
func Known(kind, key string) bool {
	b := Open()
	return b != nil && b.Known(kind, source.TestedPackage(), key)
}

// Listed is Known without taking the leak in.
func Listed(kind, key string) bool {
	b := Open()
	return b != nil && b.Listed(kind, source.TestedPackage(), key)
}

func (b *File) Listed(kind, pkg, key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines[lineOf(kind, pkg, key)]
}

func lineOf(kind, pkg, key string) string {
	return strings.Join([]string{kind, pkg, strings.Join(strings.Fields(key), " ")}, "\t")
}

func (b *File) Known(kind, pkg, key string) bool {
	line := lineOf(kind, pkg, key)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.lines[line]:
		return true
	case !b.update || b.err != nil:
		return false
	}
	if err := appendLine(b.file, line); err != nil {
		b.fail(err)
		return false
	}
	b.lines[line] = true
	return true
}

// appendLine adds the line with one write. If the last line has no end, because
// an editor wrote it or another process is writing it, an empty line may result.
func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if !endsLine(f) {
		line = "\n" + line
	}
	_, err = f.WriteString(line + "\n")
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func endsLine(f *os.File) bool {
	var last [1]byte
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return true
	}
	n, _ := f.ReadAt(last[:], size-1)
	return n == 0 || last[0] == '\n'
}

// Command takes all leaks of the package into a baseline file.
func Command() string {
	file := os.Getenv("LEAKSAFE_BASELINE")
	if file == "" {
		file = "leaks.txt"
	}
	return fmt.Sprintf("LEAKSAFE_BASELINE=%s LEAKSAFE_BASELINE_UPDATE=1 go test %s", file, source.TestedPackage())
}
