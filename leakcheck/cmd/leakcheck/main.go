// Leakcheck reads heap dumps that a service or a test has saved, and says what grew and who keeps
// it.
//
//	leakcheck dump    -pid N | -core file out.dump       a dump of a process that runs, or of a core file
//	leakcheck summary [flags] one.dump                   what is in the heap, by allocation site
//	leakcheck compare [flags] before.dump after.dump     what is new in the second
//	leakcheck why     [flags] one.dump -site F           what retains the objects that F allocated (or -addr 0xc000…, or -type T)
//	leakcheck flame   [flags] [before.dump] one.dump out.pb.gz   what retains the memory, or its growth, as a profile
//	leakcheck watch   [flags] http://host:6060           a verdict on a running service, from its pprof pages
//
// -pid N replaces the last dump. A wrong call of any subcommand ends with exit code 2. Flags may be
// anywhere:
//
//	-exe file    the executable that wrote the dump, with symbols, names variables, types and functions
//	-json        for machines
//	-n rows      how many rows or paths to print (20; 0 for all)
//	-pid N       look at this process in place of the last dump
//	-html file   of summary and compare: write a page too
//
// This is the server of examples/ssr, before and after 500 requests to each of its two pages. First
// come the suspects: places that retain a tenth of the growth or more. The first row of the table
// is the line that leaks:
//
//	$ leakcheck compare before.dump after.dump -exe ./ssr -n 2
//	before.dump → after.dump
//	963 of 3,166 objects have an allocation site; run with runtime.MemProfileRate = 1 to have all
//
//	2.3 MiB more than before, 95 % of the growth, is retained by the package variable main.history, in 550 objects
//	  → main.history.pages → []*main.page
//	  → []*main.page[…] → main.page
//	  → allocated at main.memoryLeak:28
//
//	# new  # deleted  # delta  size delta  retained
//	  500          0     +500    +2.3 MiB  +2.3 MiB  main.memoryLeak (ssr/pages.go:28)  never freed  p := &page{Title: "S…
//	    1          0       +1     +80 KiB   +80 KiB  watch.(*level).push (watch/history.go:65)  l.ring = make([]bucket, 0…
//
//	$ leakcheck why after.dump -exe ./ssr -site main.memoryLeak -n 1
//	553 objects, on 1 path or more (-n 0 prints all)
//
//	retained by package variable main.history: main.history.pages[254]
//	  variable main.history.pages
//	  → []*main.page [254]           ssr/pages.go:19  history.pages = append(history.pages, p)
//	  → the object: main.page (550 like it, 2.6 MiB retained)  ssr/pages.go:28  p := &page{Title: "Shop", Products: catal…
//
// A row says how many objects of a site are new, how many are gone, and by how much the site's own
// bytes and what would be freed with them have grown. Rows are sorted by what would be freed. A
// site with few objects more than before is sorted by its own bytes: what a list or a map holds has
// a row of its own. Dumps of two processes, or of two builds, are compared too: then sites are
// matched without their lines, and objects are only counted. With -html file, summary and compare
// write a page that shows the suspects and the whole tree of what retains the memory, or its
// growth.
//
// A path of why begins at a root. Where several roots retain an object, it is the nearest package
// variable that was declared outside the standard library, and the lines "also retained by" name
// others.
//
// # A flame graph of what retains the memory
//
// The command flame writes a pprof profile, of inuse_space and inuse_objects:
//
//	$ leakcheck flame -exe ./shop after.dump retained.pb.gz
//	$ go tool pprof -http=: retained.pb.gz
//
// A box is as wide as what would be freed with it. At the top are the roots: package variables,
// goroutines by the function that created them and the line they are at, pending timers,
// finalizers. Below each are the objects that it alone retains, as fields, elements and variables
// of closures, and last the line that allocated, where the dump knows it. What several roots retain
// is below "shared with other roots" of the nearest one. Lists, trees and other recursive data are
// one box. The labels "root" and "state" of samples select, for instance, what goroutines blocked
// in one way retain: -tagfocus='state=blocked in chan receive'.
//
// Given two dumps, it writes how much more the second one retains. Profilers that store pprof
// profiles, such as Pyroscope or Parca, take both.
//
// # A verdict without a dump
//
// The command watch needs net/http/pprof in the service, and nothing else. It fetches the heap
// profile and the goroutine profile -n times (12), one -interval (5 s) apart, and judges them by
// the rule of package watch. Where the service has the goroutineleak profile (Go 1.27), goroutines
// proven to be unable to go on are reported too. Each fetch makes the service collect garbage.
//
//	$ leakcheck watch http://127.0.0.1:6060
//	http://127.0.0.1:6060/debug/pprof/: growing
//	  live heap: 35 MiB to 61 MiB in 55s, 1.7 GiB an hour
//	       +25 MiB  main.remember (plain/main.go:29)
//	  12 fetches in 55s; growth of less than 1 MiB in that time is not reported
//
// The exit code is 0 for steady, 1 for growing and 2 when it cannot tell: an error, a service that
// was started again meanwhile, or growth that is not even. A cache that fills at an even pace looks
// like a leak until it is full: watch again later.
//
// # A dump of any process
//
// The command dump reads the memory of a process that never heard of this module, on Linux on amd64
// and arm64, of Go 1.26 and 1.27:
//
//	$ leakcheck dump -pid 4711 out.dump
//	out.dump: 182,692 objects, 63 MiB, 9 goroutines; process 4711 was stopped for 36.5 ms; file 66 MiB, redacted
//
// The process stands still while its memory is copied and goes on before the copy is read. It goes
// on too if this command is killed. Reading it takes the right to debug it: the same user, or root;
// an error says what is missing. A redacted dump holds pointers, types and lengths, and zeros
// instead of strings, map keys and numbers; with -contents it holds everything. An executable that
// was linked with -s or -w needs an unstripped build of the same source as -exe. With -core, the
// command reads a core file of such a process, by gcore or GOTRACEBACK=crash, on any system. A
// process whose runtime is not understood is refused.
//
// why, flame, summary and compare take -pid in the place of their last dump. The stop takes 0.3 ms
// for each MB of the heap at best, and some seconds at 4 GB. summary without -exe needs 1.4 to 2.2
// times the size of the dump in memory. A dump that exists is replaced only with -force.
//
// # Taking a dump from a service
//
// A dump is written by [runtime/debug.WriteHeapDump]. It stops the world for about a second per 160
// MB, and holds everything that is in memory, secrets included: write it on an operator's request
// only, to a file that only the service's user can read.
//
//	f, err := os.OpenFile("/var/lib/service/after.dump", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
//	if err != nil {
//		return err
//	}
//	defer f.Close()
//	runtime.GC() // twice: what a sync.Pool keeps is no leak
//	runtime.GC()
//	debug.WriteHeapDump(f.Fd())
//
// An object has an allocation site in the dump only if the heap profile sampled it. At the default
// rate that is one object in 512 KiB of allocations, almost none. Set runtime.MemProfileRate = 1 as
// the first statement of main (or GODEBUG=memprofilerate=1 in the environment) to have all. That
// costs each allocation about a microsecond and some memory per live object, so do it in a load
// test, or on one instance. At other rates the rest is grouped by type where -exe is given, and by
// size and the words that hold pointers where it is not. In a program that never refers to the heap
// profile the linker turns the profiler off: then there are no sites at any rate; refer to
// runtime.MemProfile, or import net/http/pprof.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// A subcommand is one word after leakcheck. To add one, write its function in a file of its own and
// add a line to subcommands.
type subcommand struct {
	name string
	args string // what follows the name and the flags
	what string // what it does, in one line
	run  func(c *command, args []string) error
}

var subcommands = []subcommand{
	{"dump", "(-pid N | -core file) out.dump", "a dump of a process that runs, or of a core file", dumpProcess},
	{"summary", "(one.dump | -pid N)", "what is in the heap, by allocation site", summary},
	{"compare", "before.dump (after.dump | -pid N)", "what is new in the second dump", compareDumps},
	{"why", "(one.dump | -pid N) (-site F | -addr A | -type T)", "what retains the objects", why},
	{"flame", "[before.dump] (one.dump | -pid N) out.pb.gz", "what retains the memory, as a profile for go tool pprof -http=:", flameDumps},
	{"watch", "http://host:6060", "a verdict on a service from its pprof pages: exit code 0 steady, 1 growing, 2 cannot tell", watchURL},
}

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30) // a dump is large arrays without pointers: collecting them costs little, and keeping garbage much
	}
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, "leakcheck:", err)
	}
	os.Exit(exitCode(err))
}

// An exit ends the process with a code of its own. Its error may be nil: then nothing is printed.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// exitWrong is the code for a wrong call.
const exitWrong = 2

// exitCode is 0 for success, and 1 for errors that do not say.
func exitCode(err error) int {
	var e exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	}
	return 1
}

// A command is one invocation of a subcommand.
type command struct {
	out, errOut io.Writer
	flags       *flag.FlagSet

	sub     subcommand
	exe     string
	json    bool
	rows    int
	pid     int      // 0 if none is given
	dumped  *os.File // the dump of that process, once it was taken
	running *os.File // the executable of that process, once it was opened
	source  sources
}

func run(args []string, out, errOut io.Writer) error {
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := fmt.Fprint(out, usage())
		return err
	}
	i := -1
	if len(args) > 0 {
		i = slices.IndexFunc(subcommands, func(s subcommand) bool { return s.name == args[0] })
	}
	if i < 0 {
		wrong := "name a subcommand"
		if len(args) > 0 {
			wrong = fmt.Sprintf("there is no subcommand %q", args[0])
		}
		return exit{exitWrong, errors.New(wrong + "\n" + strings.TrimSuffix(usage(), "\n"))}
	}
	s := subcommands[i]
	c := &command{out: out, errOut: errOut, sub: s, flags: flag.NewFlagSet("leakcheck "+s.name, flag.ContinueOnError)}
	defer func() {
		for _, f := range []*os.File{c.dumped, c.running} {
			if f != nil {
				f.Close()
			}
		}
	}()
	c.flags.SetOutput(io.Discard)
	c.flags.Usage = func() {}
	err := s.run(c, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		c.help()
		return nil
	}
	return err
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage:\n")
	for _, s := range subcommands {
		fmt.Fprintf(&b, "  %s\n        %s\n", s.usage(), s.what)
	}
	b.WriteString("\nleakcheck <subcommand> -h lists its flags.\n")
	return b.String()
}

func (s subcommand) usage() string { return fmt.Sprintf("leakcheck %s [flags] %s", s.name, s.args) }

// help prints what the user asked for.
func (c *command) help() {
	fmt.Fprintf(c.out, "usage: %s\n\nGives %s.\n\nflags:\n", c.sub.usage(), c.sub.what)
	c.flags.SetOutput(c.out)
	c.flags.PrintDefaults()
}

// wrong is the error of a wrong call: what is wrong with it, and how it is called.
func (c *command) wrong(format string, args ...any) error {
	return exit{exitWrong, fmt.Errorf("%s: %w\nusage: %s", c.sub.name, fmt.Errorf(format, args...), c.sub.usage())}
}

// readFlags defines the flags of all that read a dump.
func (c *command) readFlags() {
	c.flags.StringVar(&c.exe, "exe", "", "the `executable` that wrote the dump, with symbols")
	c.flags.BoolVar(&c.json, "json", false, "print JSON")
	c.flags.IntVar(&c.rows, "n", 20, "how many `rows` or paths to print; 0 for all")
	c.pidFlag(insteadOfDump)
}

const insteadOfDump = "look at this `process` in place of the last dump; it is stopped while its memory is copied:\n" + stopped

// stopped is measured by TestTableOfStops.
const stopped = "0.3 ms for each MB of its heap at best, some seconds at 4 GB"

// pidFlag defines the flag that names a process.
func (c *command) pidFlag(what string) {
	c.flags.Func("pid", what, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 || int(int32(n)) != n {
			return errors.New("a process id is a number above 0")
		}
		c.pid = n
		return nil
	})
}

// dumps parses flags and returns the other arguments. The process that -pid names is the last of
// them. There must be n. what says so in words.
func (c *command) dumps(args []string, n int, what string) ([]string, error) {
	files, err := c.parse(args)
	if err != nil {
		return nil, err
	}
	if c.rows < 0 {
		return nil, c.wrong("-n %d is below 0: give a number of rows, or 0 for all", c.rows)
	}
	if c.pid != 0 {
		files = append(files, c.processName())
	}
	return files, c.require(files, n, what)
}

// require refuses arguments that are not n.
func (c *command) require(files []string, n int, what string) error {
	if len(files) == n {
		return nil
	}
	given := "nothing is given"
	if len(files) > 0 {
		given = "given: " + strings.Join(files, ", ")
	}
	return c.wrong("give %s (%s)", what, given)
}

// What a subcommand wants.
const (
	oneDump  = "one dump, or a process with -pid N in its place"
	twoDumps = "two dumps, or a dump and a process with -pid N in place of the second"
)

// parse parses flags, which may stand anywhere, and returns the other arguments.
func (c *command) parse(args []string) (files []string, err error) {
	for {
		if err := c.flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, c.wrong("%w", err)
		}
		if c.flags.NArg() == 0 {
			return files, nil
		}
		files = append(files, c.flags.Arg(0))
		args = c.flags.Args()[1:]
	}
}

// writable refuses a file that cannot be written, before work is done for it.
func writable(file string) error {
	if file == "" {
		return nil
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory: name a file to write", file)
	}
	_, err := os.Stat(filepath.Dir(file))
	return err
}

func (c *command) encode(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
