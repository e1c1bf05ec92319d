// Package option holds what the options of a check say.
package option

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/goleak"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Config is what the options of a check say. Its zero value is never used: see [New].
type Config struct {
	Grace  time.Duration
	Goleak []goleak.Option
	Growth growth.Settings
	// Misuse is the first option that makes no sense. The check that reads the options reports it:
	// an option has no test to fail.
	Misuse error

	ignoreFuncs    []string
	ignoreCreators []string
	ignoreFiles    []string
	given          []given
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

// topics are what the options of each check are about.
var topics = map[string][]topic{
	"Check":      {aboutGrace, aboutGoroutines, aboutFiles},
	"Goroutines": {aboutGrace, aboutGoroutines},
	"Files":      {aboutGrace, aboutFiles},
	"NoGrowth":   {aboutGrace, aboutGoroutines, aboutGrowth},
	"Measure":    {aboutGrace, aboutGoroutines, aboutGrowth},
}

// suite holds the options given to Main, the defaults of all checks.
var suite atomic.Pointer[func(*Config)]

// OfSuite makes options the defaults of all checks, and returns what they say.
func OfSuite(options func(*Config)) Config {
	suite.Store(&options)
	return New("Main", false, func(*Config) {})
}

// InSuite reports whether there are defaults: then Main will look when the tests have run.
func InSuite() bool { return suite.Load() != nil }

// plantedGrace is the grace of checks in a negative control, unless they say otherwise: what is
// planted does not end, however long one waits.
const plantedGrace = 200 * time.Millisecond

// New reads the suite's options, and then those of a check, by the check's name.
func New(check string, planted bool, options func(*Config)) Config {
	c := Config{Grace: 2 * time.Second}
	if defaults := suite.Load(); defaults != nil {
		(*defaults)(&c)
	}
	if planted {
		c.Grace = plantedGrace
	}
	c.given = nil
	c.Add(check, options)
	return c
}

// Add reads more options of a check.
func (c *Config) Add(check string, options func(*Config)) {
	options(c)
	for _, g := range c.given {
		if !slices.Contains(topics[check], g.about) {
			c.refuse("%s: the option %s means nothing to it: give it to %s", check, g.name, g.about)
		}
	}
	c.given = nil
}

func (c *Config) refuse(format string, args ...any) {
	if c.Misuse == nil {
		c.Misuse = fmt.Errorf("leakcheck: "+format, args...)
	}
}

func (c *Config) give(name string, about topic) { c.given = append(c.given, given{name, about}) }

// SetGrace is leakcheck.Grace.
func (c *Config) SetGrace(d time.Duration) {
	c.give("Grace", aboutGrace)
	if d < 0 {
		c.refuse("Grace(%v): a grace is not negative; use Grace(0) to look once", d)
		return
	}
	c.Grace = d
}

// IgnoreFunc is leakcheck.IgnoreFunc.
func (c *Config) IgnoreFunc(prefix string) {
	c.ignore(&c.ignoreFuncs, "IgnoreFunc", aboutGoroutines, prefix)
}

// IgnoreCreatedBy is leakcheck.IgnoreCreatedBy.
func (c *Config) IgnoreCreatedBy(prefix string) {
	c.ignore(&c.ignoreCreators, "IgnoreCreatedBy", aboutGoroutines, prefix)
}

// IgnoreFile is leakcheck.IgnoreFile.
func (c *Config) IgnoreFile(text string) {
	c.ignore(&c.ignoreFiles, "IgnoreFile", aboutFiles, text)
}

// IgnoreSite is leakcheck.IgnoreSite.
func (c *Config) IgnoreSite(prefix string) {
	c.ignore(&c.Growth.IgnoreSites, "IgnoreSite", aboutGrowth, prefix)
}

// ignore refuses the empty prefix, which would silence everything.
func (c *Config) ignore(list *[]string, option string, about topic, prefix string) {
	c.give(option, about)
	if strings.TrimSpace(prefix) == "" {
		c.refuse("%s(%q): an empty prefix would ignore everything; name a function", option, prefix)
		return
	}
	*list = append(*list, prefix)
}

// PassToGoleak is leakcheck.Goleak.
func (c *Config) PassToGoleak(opts []goleak.Option) {
	c.give("Goleak", aboutProcess)
	c.Goleak = append(c.Goleak, opts...)
}

// SetIterations is leakcheck.Iterations.
func (c *Config) SetIterations(n int) { c.count(&c.Growth.Iterations, "Iterations", n, 1) }

// SetRounds is leakcheck.Rounds.
func (c *Config) SetRounds(n int) { c.count(&c.Growth.Rounds, "Rounds", n, 2) }

// SetWarmup is leakcheck.Warmup.
func (c *Config) SetWarmup(n int) {
	c.Growth.Warmup = new(int)
	c.count(c.Growth.Warmup, "Warmup", n, 0)
}

func (c *Config) count(field *int, option string, n, least int) {
	c.give(option, aboutGrowth)
	if n < least {
		c.refuse("%s(%d): at least %d", option, n, least)
		return
	}
	*field = n
}

// SetAllowPerOp is leakcheck.AllowPerOp.
func (c *Config) SetAllowPerOp(bytes float64) {
	c.give("AllowPerOp", aboutGrowth)
	if !(bytes >= 0) {
		c.refuse("AllowPerOp(%v): bytes are not negative", bytes)
		return
	}
	c.Growth.AllowPerOp = bytes
}

// IgnoresGoroutine reports whether an option ignores g, or a creator of g that still runs.
func (c *Config) IgnoresGoroutine(g *gostack.Goroutine, l gostack.Snapshot) bool {
	for range 100 {
		if g == nil {
			break
		}
		if c.Names(g) {
			return true
		}
		g = l[g.Parent]
	}
	return false
}

// Names reports whether an option names a function of g or its creator.
func (c *Config) Names(g *gostack.Goroutine) bool {
	return slices.ContainsFunc(c.ignoreCreators, g.Creator.Matches) ||
		slices.ContainsFunc(c.ignoreFuncs, func(prefix string) bool {
			return slices.ContainsFunc(g.Frames, func(f source.Frame) bool { return f.Matches(prefix) })
		})
}

// IgnoresFile reports whether an option ignores a file, by its description.
func (c *Config) IgnoresFile(description string) bool {
	return slices.ContainsFunc(c.ignoreFiles, func(text string) bool { return strings.Contains(description, text) })
}
