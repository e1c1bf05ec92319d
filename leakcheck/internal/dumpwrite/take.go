package dumpwrite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
	"github.com/leaksafe/leaksafe/leakcheck/internal/process"
)

// Options of a dump.
type Options struct {
	Exe      string // an unstripped build of the program, where the process runs a stripped one
	Contents bool   // keep the contents of memory
}

// Process writes a dump of a running process to a file, and lets the process go on as soon as its
// memory is copied.
func Process(pid int, o Options, f *os.File) (Stats, error) {
	p, err := process.Open(pid)
	if err != nil {
		return Stats{}, err
	}
	defer p.Close()
	exe, err := goruntime.OpenExe(p.Exe(), o.Exe)
	if err != nil {
		return Stats{}, fmt.Errorf("process %d: %w", pid, err)
	}
	r, err := goruntime.New(exe, p)
	if err != nil {
		return Stats{}, fmt.Errorf("process %d: %w", pid, err)
	}
	now := p.Now()
	note, err := p.Reserve(r.Estimate(now, o.Contents), now, filepath.Dir(f.Name()))
	if err != nil {
		return Stats{}, err
	}
	stopped, err := freeze(pid, p, r, o.Contents)
	if err != nil {
		return Stats{}, err
	}
	stats, err := write(f, r, o.Contents)
	stats.Stopped, stats.Note = stopped, note
	return stats, err
}

// freeze copies what must be consistent while the process is stopped. It goes on in any case.
func freeze(pid int, p *process.Process, r *goruntime.Runtime, contents bool) (time.Duration, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection of our own while it waits
	defer process.Hurry()()
	start := time.Now()
	if err := p.Stop(); err != nil {
		return 0, err
	}
	defer p.Continue()
	ranges, err := r.Survey(p.Threads(), contents)
	if err == nil {
		err = p.Copy(ranges)
	}
	if err == nil {
		err = r.Records()
	}
	p.Continue()
	if err != nil {
		err = fmt.Errorf("process %d: %w", pid, err)
	}
	return time.Since(start), err
}

// write checks what was read, and writes it.
func write(w io.Writer, r *goruntime.Runtime, contents bool) (Stats, error) {
	if err := r.Settle(); err != nil {
		return Stats{}, err
	}
	if err := r.Verify(); err != nil {
		return Stats{}, err
	}
	return Write(w, r, contents)
}

// Core writes a dump of the process that left a core file.
func Core(path string, o Options, f *os.File) (Stats, error) {
	c, err := process.OpenCore(path)
	if err != nil {
		return Stats{}, err
	}
	defer c.Close()
	run, names, err := executables(c, o.Exe)
	if err != nil {
		return Stats{}, fmt.Errorf("%s: %w", path, err)
	}
	exe, err := goruntime.OpenExe(run, names)
	if err != nil {
		return Stats{}, err
	}
	entry, err := c.Entry()
	if err != nil {
		return Stats{}, err
	}
	if err := c.AddExe(run, goruntime.Shift(exe, entry)); err != nil {
		return Stats{}, err
	}
	stats, err := core(c, exe, o.Contents, f)
	if err != nil {
		return Stats{}, fmt.Errorf("%s: %w", path, err)
	}
	return stats, nil
}

func core(c *process.Core, exe *goruntime.Exe, contents bool, f *os.File) (Stats, error) {
	r, err := goruntime.New(exe, c)
	if err != nil {
		return Stats{}, err
	}
	if _, err := r.Survey(c.Threads, contents); err != nil {
		return Stats{}, err
	}
	if err := r.Records(); err != nil {
		return Stats{}, err
	}
	return write(f, r, contents)
}

// executables are the one that ran and the one with symbols. A core names the first; where that
// file is not here, exe is both.
func executables(c *process.Core, exe string) (run, names string, err error) {
	_, missing := os.Stat(c.Path)
	switch {
	case c.Path != "" && missing == nil:
		return c.Path, exe, nil
	case exe != "":
		return exe, "", nil
	case c.Path == "":
		return "", "", errors.New("the core file does not name its executable: pass it as -exe")
	}
	return "", "", fmt.Errorf("its executable %s is not here: pass a copy of it as -exe", c.Path)
}
