package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/remote"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// Exit codes of watch, for CI and cron. 0: steady.
const (
	exitGrowing = 1
	exitUnknown = 2
)

// watchURL gives a verdict on a service from its pprof pages.
func watchURL(c *command, args []string) error {
	var o remote.Options
	c.flags.BoolVar(&c.json, "json", false, "print JSON")
	c.flags.IntVar(&o.Fetches, "n", 12, "how many times to `fetch`; 6 at least")
	c.flags.DurationVar(&o.Interval, "interval", 5*time.Second, "`time` between two fetches; each makes the service collect garbage")
	c.flags.Int64Var(&o.Floor, "floor", 1<<20, "`bytes` of growth that are too few to report")
	urls, err := c.parse(args)
	if err != nil {
		return err
	}
	if err := c.require(urls, 1, "the address of a service, such as http://host:6060"); err != nil {
		return err
	}
	o.URL = urls[0]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if w := terminal(c.errOut); w != nil {
		o.Progress = func(fetch int, err error) { fmt.Fprintf(w, "\rfetch %d of %d", fetch, o.Fetches) }
		defer fmt.Fprint(w, "\r\x1b[K")
	}
	r, err := remote.Watch(ctx, o)
	if err != nil {
		return exit{exitUnknown, err}
	}
	if c.json {
		err = c.encode(r)
	} else {
		err = c.printVerdict(r)
	}
	switch {
	case err != nil:
		return exit{exitUnknown, err}
	case r.Verdict == remote.Growing:
		return exit{exitGrowing, nil}
	case r.Verdict == remote.Unknown:
		return exit{exitUnknown, nil}
	}
	return nil
}

func (c *command) printVerdict(r *remote.Report) error {
	fmt.Fprintf(c.out, "%s: %s", r.URL, r.Verdict)
	if r.Reason != "" {
		fmt.Fprintf(c.out, ": %s", r.Reason)
	}
	fmt.Fprintln(c.out)
	over := time.Duration(r.Over * float64(time.Second)).Round(time.Second / 10)
	for _, f := range r.Findings {
		amount := func(n float64) string { return figure.Number(int(n)) }
		if f.Signal == remote.LiveHeap {
			amount = func(n float64) string { return figure.Bytes(int64(n)) }
		}
		fmt.Fprintf(c.out, "  %s: %s to %s in %v, %s an hour\n", f.Signal, amount(f.From), amount(f.To), over, amount(f.PerHour))
		for _, s := range f.Sites {
			fmt.Fprintf(c.out, "    %10s  %s\n", "+"+amount(float64(s.Growth)), siteText(f.Signal, s))
		}
		if len(f.Sites) == 0 {
			fmt.Fprintln(c.out, "    the heap profile names no line yet: it samples one object in 512 KiB of allocations; watch longer (-n, -interval)")
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(c.out, "  note: %s\n", n)
	}
	_, err := fmt.Fprintf(c.out, "  %s in %v; growth of less than %s in that time is not reported\n", fetches(r.Fetches), over, figure.Bytes(r.Floor))
	return err
}

func fetches(n int) string {
	if n == 1 {
		return "1 fetch"
	}
	return fmt.Sprintf("%d fetches", n)
}

func siteText(signal string, s remote.Site) string {
	text := symbols.Short(s.Func)
	if s.File != "" {
		text += fmt.Sprintf(" (%s:%d)", path.Join(path.Base(path.Dir(s.File)), path.Base(s.File)), s.Line)
	}
	switch {
	case s.Caller == "":
	case signal == remote.LiveHeap:
		text += ", called from " + s.Caller
	case symbols.Short(s.Caller) != symbols.Short(s.Func):
		text += ", in goroutines that run " + s.Caller
	}
	return text
}
