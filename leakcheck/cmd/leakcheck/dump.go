package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/dumpwrite"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A target is what to dump.
type target struct {
	pid      int
	core     string
	contents bool
}

func dumpProcess(c *command, args []string) error {
	var t target
	c.flags.IntVar(&t.pid, "pid", 0, "the `process` to dump; it is stopped while its memory is copied")
	c.flags.StringVar(&t.core, "core", "", "a core `file` to dump instead of a process")
	c.flags.StringVar(&c.exe, "exe", "", "an unstripped build of the program, if the process runs a stripped `executable`; with -core, the program itself if it has moved")
	c.flags.BoolVar(&t.contents, "contents", false, "keep strings, numbers and all other bytes; they may hold secrets")
	files, err := c.files(args, 1)
	if err != nil {
		return err
	}
	if (t.pid != 0) == (t.core != "") || t.pid < 0 {
		fmt.Fprintln(c.errOut, "leakcheck dump: say what to dump: -pid N or -core file, and not both")
		c.flags.Usage()
		return flag.ErrHelp
	}
	stats, err := c.take(t, files[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, t.told(files[0], stats))
	return nil
}

// told is the line about a dump that was written.
func (t target) told(file string, s dumpwrite.Stats) string {
	line := fmt.Sprintf("%s: %s, %s, %s", file, count(s.Objects, "object"), retain.Bytes(int64(s.Bytes)), count(s.Goroutines, "goroutine"))
	if t.pid != 0 {
		line += fmt.Sprintf("; process %d was stopped for %s", t.pid, milliseconds(s.Stopped))
	}
	line += fmt.Sprintf("; file %s, ", retain.Bytes(s.FileSize))
	if t.contents {
		line += "not redacted: it may hold secrets"
	} else {
		line += "redacted"
	}
	if s.Note != "" {
		line += "\n" + s.Note
	}
	return line
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// take writes a dump. The file appears when it is complete; only this user can read it.
func (c *command) take(t target, file string) (dumpwrite.Stats, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return dumpwrite.Stats{}, fmt.Errorf("%s exists and is no regular file", file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".part-*")
	if err != nil {
		return dumpwrite.Stats{}, fmt.Errorf("cannot write a dump: %w", err)
	}
	stats, err := t.write(f, c.exe)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return stats, err
}

func (t target) write(f *os.File, exe string) (dumpwrite.Stats, error) {
	o := dumpwrite.Options{Exe: exe, Contents: t.contents}
	if t.core != "" {
		return dumpwrite.Core(t.core, o, f)
	}
	return dumpwrite.Process(t.pid, o, f)
}

// source is where a command's dump comes from: a file, or a process that is dumped to a file for the occasion.
func (c *command) openTarget(pid int, file string) (*dump, error) {
	if pid == 0 {
		return c.open(file)
	}
	dir, err := os.MkdirTemp("", "leakcheck-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // the file stays open, without a name
	t := target{pid: pid, contents: true}
	file = filepath.Join(dir, fmt.Sprintf("process-%d.dump", pid))
	stats, err := c.take(t, file)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c.errOut, "process %d was stopped for %s\n", pid, milliseconds(stats.Stopped))
	if c.exe == "" {
		c.exe = fmt.Sprintf("/proc/%d/exe", pid)
	}
	d, err := c.open(file)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), file+": "))
	}
	return d, nil
}
