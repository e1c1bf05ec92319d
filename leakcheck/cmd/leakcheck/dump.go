package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/dumpwrite"
	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

// A target is what to dump.
type target struct {
	pid      int
	core     string
	contents bool
}

func dumpProcess(c *command, args []string) error {
	var t target
	c.pidFlag("the `process` to dump; it is stopped while its memory is copied:\n" + stopped)
	c.flags.StringVar(&t.core, "core", "", "a core `file` to dump instead of a process")
	c.flags.StringVar(&c.exe, "exe", "", "an unstripped build of the program, if the process runs a stripped `executable`; with -core, the\nprogram itself if it has moved")
	c.flags.BoolVar(&t.contents, "contents", false, "keep strings, numbers and all other bytes; they may hold secrets")
	force := c.flags.Bool("force", false, "replace the file if it exists")
	files, err := c.parse(args)
	if err != nil {
		return err
	}
	t.pid = c.pid
	if (t.pid != 0) == (t.core != "") {
		return c.wrong("say what to dump: -pid N or -core file, and not both")
	}
	if err := c.require(files, 1, "the file to write"); err != nil {
		return err
	}
	if err := replaceable(files[0], *force); err != nil {
		return err
	}
	stats, err := c.take(t, files[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, t.told(files[0], stats))
	return nil
}

// replaceable refuses to lose a file.
func replaceable(file string, force bool) error {
	switch info, err := os.Stat(file); {
	case file == "":
		return errors.New("the name of the file to write is empty")
	case err != nil:
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s exists and is no regular file", file)
	case !force:
		return fmt.Errorf("%s exists: name another file, or replace it with -force", file)
	}
	return nil
}

// told is the line about a dump that was written.
func (t target) told(file string, s dumpwrite.Stats) string {
	line := fmt.Sprintf("%s: %s, %s, %s", file, figure.Plural(s.Objects, "object"), figure.Bytes(int64(s.Bytes)), figure.Plural(s.Goroutines, "goroutine"))
	if t.pid != 0 {
		line += fmt.Sprintf("; process %d was stopped for %s", t.pid, milliseconds(s.Stopped))
	}
	line += fmt.Sprintf("; file %s, ", figure.Bytes(s.FileSize))
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
	pattern := "." + filepath.Base(file) + ".part-*"
	f, remove, err := temporary(filepath.Dir(file), pattern)
	if err != nil {
		return dumpwrite.Stats{}, err
	}
	defer remove()
	claim(f)
	removeStale(filepath.Join(filepath.Dir(file), pattern))
	stats, err := t.write(f, c.exe)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	return stats, err
}

// partAge is how old a part of a dump is before it may be taken for one that a killed command has
// left: it is claimed a moment after it was made.
const partAge = time.Minute

// removeStale removes what commands that were killed have left of this dump.
func removeStale(pattern string) {
	parts, _ := filepath.Glob(pattern) // a name that is no pattern has none
	for _, part := range parts {
		info, err := os.Lstat(part)
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < partAge {
			continue
		}
		f, err := os.Open(part)
		if err != nil {
			continue
		}
		if claim(f) {
			os.Remove(part)
		}
		f.Close()
	}
}

// temporary makes a file. It is gone after remove, and when a signal ends the command before that.
func temporary(dir, pattern string) (f *os.File, remove func(), err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if f, err = os.CreateTemp(dir, pattern); err != nil {
		signal.Stop(signals)
		return nil, nil, fmt.Errorf("cannot write a dump: %w", err)
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case s := <-signals:
			os.Remove(f.Name())
			code := 1
			if s, ok := s.(syscall.Signal); ok {
				code = 128 + int(s) // as a shell says it
			}
			os.Exit(code)
		}
	}()
	return f, func() {
		os.Remove(f.Name())
		signal.Stop(signals)
		close(done)
	}, nil
}

func (t target) write(f *os.File, exe string) (dumpwrite.Stats, error) {
	o := dumpwrite.Options{Exe: exe, Contents: t.contents}
	if t.core != "" {
		return dumpwrite.Core(t.core, o, f)
	}
	return dumpwrite.Process(t.pid, o, f)
}

// processName is how the process that -pid names is called.
func (c *command) processName() string { return fmt.Sprintf("process %d", c.pid) }

// process dumps the process that -pid names, once, to a file without a name. With contents: nobody
// else can read it, and it is gone with this process.
func (c *command) process() (*os.File, error) {
	if c.dumped != nil {
		return c.dumped, nil
	}
	f, remove, err := temporary("", "leakcheck-*.dump")
	if err != nil {
		return nil, err
	}
	remove()
	c.executable() // while it is there
	stats, err := target{pid: c.pid, contents: true}.write(f, c.exe)
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w: name a directory with more room with TMPDIR", err)
		}
		return nil, err
	}
	fmt.Fprintf(c.errOut, "process %d was stopped for %s\n", c.pid, milliseconds(stats.Stopped))
	c.dumped = f
	return f, nil
}

// executable is the file that names what is in dumps: the one that -exe names, or the one that the
// process runs, which stays open because the process may end. It is "" where there is none.
func (c *command) executable() string {
	if c.exe != "" || c.pid == 0 {
		return c.exe
	}
	if c.running == nil {
		f, err := os.Open(fmt.Sprintf("/proc/%d/exe", c.pid))
		if err != nil {
			return ""
		}
		c.running = f
	}
	return fmt.Sprintf("/proc/self/fd/%d", c.running.Fd())
}
