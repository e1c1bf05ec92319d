package leakcheck

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/goleak"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
)

// An Option changes one check, or, given to [Main], the default of every check of the suite.
// Options of a check come after the suite's: lists add up, single values are replaced.
//
//	every check           Grace
//	goroutines            IgnoreFunc, IgnoreCreatedBy    (Check, Goroutines, NoGrowth, Measure)
//	files                 IgnoreFile    (Check, Files)
//	growth                IgnoreSite, AllowPerOp, Iterations, Rounds, Warmup    (NoGrowth, Measure)
//	the process           Goleak    (Main)
//
// A check fails, in words, for an option that means nothing to it. Main takes all.
type Option func(*config)

// config is what the options say. Its zero value is never used: see newConfig.
type config struct {
	grace          time.Duration
	ignoreFuncs    []string
	ignoreCreators []string
	ignoreFiles    []string
	goleak         []goleak.Option
	growth         growth.Settings

	given []given
	// misuse is the first option that makes no sense. The check that reads the options reports it:
	// an Option has no test to fail.
	misuse error
}

// A given is an option that was given: its name, and what it is about.
type given struct {
	name  string
	about topic
}

// A topic is what an option is about; a check takes the options of its topics.
type topic string

const (
	aboutGrace      topic = "Check"
	aboutGoroutines topic = "Check or Goroutines"
	aboutFiles      topic = "Check or Files"
	aboutGrowth     topic = "NoGrowth"
	aboutProcess    topic = "Main"
)

// suite holds the options given to Main, the defaults of all checks.
var suite atomic.Pointer[[]Option]

// newConfig reads the suite's options, and then the options of a check, by the check's name.
func newConfig(check string, opts []Option) config {
	c := config{grace: 2 * time.Second}
	if defaults := suite.Load(); defaults != nil {
		c.apply(*defaults)
	}
	c.given = nil
	c.apply(opts)
	c.restrict(check)
	return c
}

func (c *config) apply(opts []Option) {
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
}

// topics are what the options of each check are about.
var topics = map[string][]topic{
	"Check":      {aboutGrace, aboutGoroutines, aboutFiles},
	"Goroutines": {aboutGrace, aboutGoroutines},
	"Files":      {aboutGrace, aboutFiles},
	"NoGrowth":   {aboutGrace, aboutGoroutines, aboutGrowth},
	"Measure":    {aboutGrace, aboutGoroutines, aboutGrowth},
}

// restrict refuses given options that mean nothing to the check.
func (c *config) restrict(check string) {
	for _, g := range c.given {
		if !slices.Contains(topics[check], g.about) {
			c.refuse("%s: the option %s means nothing to it: give it to %s", check, g.name, g.about)
		}
	}
	c.given = nil
}

func (c *config) refuse(format string, args ...any) {
	if c.misuse == nil {
		c.misuse = fmt.Errorf("leakcheck: "+format, args...)
	}
}

func (c *config) give(name string, about topic) { c.given = append(c.given, given{name, about}) }

// Grace is how long a check waits for goroutines to end, files to be closed and objects to be
// collected before it calls them leaked; 2 s where it is not given. A check ends as soon as the
// test is clean, so a long grace costs only the time to a failure. d must not be negative; 0 looks
// once.
func Grace(d time.Duration) Option {
	return func(c *config) {
		c.give("Grace", aboutGrace)
		if d < 0 {
			c.refuse("Grace(%v): a grace is not negative; use Grace(0) to look once", d)
			return
		}
		c.grace = d
	}
}

// IgnoreFunc ignores goroutines with a function on their stack whose name starts with prefix. The
// name may be written as a failure prints it, "cache.(*Cache).janitor", or with the import path,
// "example.com/app/cache.(*Cache).janitor".
func IgnoreFunc(prefix string) Option {
	return func(c *config) {
		c.give("IgnoreFunc", aboutGoroutines)
		c.ignore(&c.ignoreFuncs, "IgnoreFunc", prefix)
	}
}

// IgnoreCreatedBy ignores goroutines that were started by a function whose name, written as for
// [IgnoreFunc], starts with prefix.
func IgnoreCreatedBy(prefix string) Option {
	return func(c *config) {
		c.give("IgnoreCreatedBy", aboutGoroutines)
		c.ignore(&c.ignoreCreators, "IgnoreCreatedBy", prefix)
	}
}

// IgnoreFile ignores open files whose description, as the failure prints it, contains text: a path,
// or an address such as "127.0.0.1:6379" for the connections that a shared client keeps.
func IgnoreFile(text string) Option {
	return func(c *config) {
		c.give("IgnoreFile", aboutFiles)
		c.ignore(&c.ignoreFiles, "IgnoreFile", text)
	}
}

// IgnoreSite ignores growth at allocation sites whose stack has a function whose name, written as
// for [IgnoreFunc], starts with prefix.
func IgnoreSite(prefix string) Option {
	return func(c *config) {
		c.give("IgnoreSite", aboutGrowth)
		c.ignore(&c.growth.IgnoreSites, "IgnoreSite", prefix)
	}
}

// ignore refuses the empty prefix, which would silence everything.
func (c *config) ignore(list *[]string, option, prefix string) {
	if strings.TrimSpace(prefix) == "" {
		c.refuse("%s(%q): an empty prefix would ignore everything; name a function", option, prefix)
		return
	}
	*list = append(*list, prefix)
}

// Goleak passes options of go.uber.org/goleak on to [Main], so that a team keeps its ignore list.
func Goleak(opts ...goleak.Option) Option {
	return func(c *config) {
		c.give("Goleak", aboutProcess)
		c.goleak = append(c.goleak, opts...)
	}
}

// Iterations is how many operations [NoGrowth] runs in a round at the smallest scale; where it is
// not given 20, or fewer where one takes over 5 ms. n must be at least 1.
func Iterations(n int) Option {
	return func(c *config) { c.count(&c.growth.Iterations, "Iterations", n, 1) }
}

// Rounds is how many rounds [NoGrowth] measures at the smallest scale; 3 where it is not given. n
// must be at least 2.
func Rounds(n int) Option {
	return func(c *config) { c.count(&c.growth.Rounds, "Rounds", n, 2) }
}

// Warmup is how many operations [NoGrowth] runs before it measures, as many as one round where it
// is not given. Raise it above the size of a cache that the operation fills. n must not be
// negative.
func Warmup(n int) Option {
	return func(c *config) {
		c.growth.Warmup = new(int)
		c.count(c.growth.Warmup, "Warmup", n, 0)
	}
}

func (c *config) count(field *int, option string, n, least int) {
	c.give(option, aboutGrowth)
	if n < least {
		c.refuse("%s(%d): at least %d", option, n, least)
		return
	}
	*field = n
}

// AllowPerOp lets every allocation site grow by up to this many bytes per operation. Use it for a
// site that is bounded at a size no test reaches.
func AllowPerOp(bytes float64) Option {
	return func(c *config) {
		c.give("AllowPerOp", aboutGrowth)
		if !(bytes >= 0) {
			c.refuse("AllowPerOp(%v): bytes are not negative", bytes)
			return
		}
		c.growth.AllowPerOp = bytes
	}
}
