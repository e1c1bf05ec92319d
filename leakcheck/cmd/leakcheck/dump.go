package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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

// process dumps the process that -pid names, for the occasion, to a file without a name, and
// returns how the dump is called from here on. With contents: nobody else can read it, and it is
// gone with this process.
func (c *command) process() (string, error) {
	f, err := os.CreateTemp("", "leakcheck-*.dump")
	if err != nil {
		return "", fmt.Errorf("cannot write a dump: %w", err)
	}
	os.Remove(f.Name())
	stats, err := target{pid: c.pid, contents: true}.write(f, c.exe)
	if err != nil {
		f.Close()
		return "", err
	}
	fmt.Fprintf(c.errOut, "process %d was stopped for %s\n", c.pid, milliseconds(stats.Stopped))
	if c.exe == "" {
		c.exe = fmt.Sprintf("/proc/%d/exe", c.pid)
	}
	name := fmt.Sprintf("process %d", c.pid)
	c.dumped = map[string]*os.File{name: f}
	return name, nil
}
