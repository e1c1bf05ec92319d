// Leakcheck reads heap dumps that a service or a test has saved, and says what grew and who keeps it.
//
//	leakcheck summary [flags] one.dump             what is in the heap, by allocation site
//	leakcheck compare [flags] before.dump after.dump   what is new in the second
//	leakcheck why     [flags] one.dump -site F     who keeps what F allocated (or -addr 0xc000…, or -type T)
//
// Flags may stand anywhere:
//
//	-exe file    the executable that wrote the dump, with symbols, names variables, types and functions
//	-json        for machines
//	-n rows      how many rows or paths to print (20; 0 for all)
//
// This is the server of examples/ssr, before and after 500 requests to each of its two pages. The first row is the line that leaks:
//
//	$ leakcheck compare before.dump after.dump -exe ./ssr -n 5
//	before.dump → after.dump (963 of 3 166 objects have an allocation site; run with runtime.MemProfileRate = 1 to have all)
//
//	# new  # deleted  # delta  size delta  retained
//	  500          0     +500    +2.3 MiB  +2.3 MiB  main.memoryLeak (ssr/pages.go:28)  p := &page{Title: "Shop", Products: catalogue}  never freed
//	    1          0       +1     +80 KiB   +80 KiB  watch.(*level).push (watch/history.go:65)  l.ring = make([]bucket, 0, keep)
//	   73          1      +72     +36 KiB   +47 KiB  the runtime
//	   53          0      +53     +14 KiB   +14 KiB  watch.(*meter).read (watch/sample.go:85)  metrics.Read(m.values[:])  never freed
//	    1          1       +0    +4.2 KiB  +2.3 MiB  main.remember (ssr/pages.go:19)  history.pages = append(history.pages, p)
//
//	$ leakcheck why after.dump -exe ./ssr -site main.memoryLeak -n 1
//	553 objects, on 1 path or more (-n 0 prints all)
//
//	the package variable main.history holds it: main.history.pages[254]
//	  variable main.history.pages
//	  → []*main.page [254]           ssr/pages.go:19  history.pages = append(history.pages, p)
//	  → the object: main.page (550 like it, 2.6 MiB retained)  ssr/pages.go:28  p := &page{Title: "Shop", Products: catalogue}
//
// A row says how many objects of a site are new, how many are gone, and by how much the site's own bytes and what would be freed with them have
// grown; rows are sorted by the latter, but a site with hardly more objects than before by its own bytes: what a list or a map holds has a row of its own. Dumps of two processes, or of two builds, are compared too: then lines are left out of sites and objects are only counted.
//
// # Taking a dump from a service
//
// A dump is written by [runtime/debug.WriteHeapDump]. It stops the world for about a second per 160 MB, and holds
// everything that is in memory, secrets included: write it on an operator's request only, to a file that only the service's
// user can read.
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
// An object has an allocation site in the dump only if the heap profile sampled it. At the default rate that is one object in
// 512 KiB of allocations, almost none. Set runtime.MemProfileRate = 1 as the first statement of main (or GODEBUG=memprofilerate=1 in the
// environment) to have all. That costs each allocation about a microsecond and some memory per live object, so do it in a load test, or on one
// instance. At other rates the rest is grouped by type where -exe is given, and by size and the words that hold pointers
// where it is not. In a program that never refers to the heap profile the linker turns the profiler off: then
// there are no sites at any rate; refer to runtime.MemProfile, or import net/http/pprof.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "leakcheck:", err)
		os.Exit(1)
	}
}

const usage = `usage:
  leakcheck summary [flags] one.dump
  leakcheck compare [flags] before.dump after.dump
  leakcheck why [flags] one.dump -site F | -addr A | -type T

flags:
`

// A command is one invocation.
type command struct {
	out, progress   io.Writer
	exe             string
	json            bool
	rows            int
	site, typ, addr string
	source          sources
}

func run(args []string, out, errOut io.Writer) error {
	c := &command{out: out, progress: terminal(errOut)}
	fs := flag.NewFlagSet("leakcheck", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.StringVar(&c.exe, "exe", "", "the `executable` that wrote the dump, with symbols")
	fs.BoolVar(&c.json, "json", false, "print JSON")
	fs.IntVar(&c.rows, "n", 20, "how many `rows` or paths to print; 0 for all")
	fs.StringVar(&c.site, "site", "", "why: objects allocated by this `function`, or a function it calls")
	fs.StringVar(&c.addr, "addr", "", "why: the object at this `address`")
	fs.StringVar(&c.typ, "type", "", "why: objects of this `type`; needs -exe")
	fs.Usage = func() { fmt.Fprint(errOut, usage); fs.PrintDefaults() }
	if len(args) == 0 {
		fs.Usage()
		return flag.ErrHelp
	}
	files, err := parse(fs, args[1:])
	if err != nil {
		return flag.ErrHelp // the flag set has said why
	}
	switch {
	case args[0] == "summary" && len(files) == 1:
		return c.summary(files[0])
	case args[0] == "compare" && len(files) == 2:
		return c.compare(files[0], files[1])
	case args[0] == "why" && len(files) == 1:
		return c.why(files[0])
	}
	fs.Usage()
	return flag.ErrHelp
}

// parse allows flags after the names of files.
func parse(fs *flag.FlagSet, args []string) (files []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return files, nil
		}
		files = append(files, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

func (c *command) why(file string) error {
	d, err := c.open(file)
	if err != nil {
		return err
	}
	defer d.Close()
	objects, err := c.wanted(d)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	paths := d.Search(objects).Paths(objects, c.rows)
	if c.json {
		return c.encode(paths)
	}
	more := ""
	if c.rows > 0 && len(paths) >= c.rows {
		more = " or more (-n 0 prints all)"
	}
	fmt.Fprintf(c.out, "%s, on %s%s\n", count(len(objects), "object"), count(len(paths), "path"), more)
	for _, p := range paths {
		fmt.Fprintf(c.out, "\n%s\n", p)
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return retain.Number(n) + " " + what + "s"
}

// wanted are the objects that a flag names.
func (c *command) wanted(d *dump) ([]int32, error) {
	switch {
	case c.addr != "":
		addr, err := strconv.ParseUint(strings.TrimPrefix(c.addr, "0x"), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("-addr %s is no hexadecimal address", c.addr)
		}
		o, ok := d.ObjectAt(addr)
		if !ok {
			return nil, fmt.Errorf("no object at %s", c.addr)
		}
		return []int32{o}, nil
	case c.site != "":
		return c.some(d.ObjectsAllocatedIn(c.site), "was allocated in "+c.site+d.share())
	case c.typ != "" && c.exe == "":
		return nil, errors.New("-type needs -exe: types are named by the executable")
	case c.typ != "":
		return c.some(d.ObjectsOfType(c.typ), "is known to be of type "+c.typ)
	}
	return nil, errors.New("say what to look for: -site F, -addr A or -type T")
}

func (c *command) some(objects []int32, what string) ([]int32, error) {
	if len(objects) == 0 {
		return nil, errors.New("no object " + what)
	}
	return objects, nil
}

func (c *command) encode(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
