package leakcheck

import (
	"time"

	"go.uber.org/goleak"

	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
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

type config = option.Config

// all are options as one.
func all(opts []Option) func(*config) {
	return func(c *config) {
		for _, o := range opts {
			if o != nil {
				o(c)
			}
		}
	}
}

// Grace is how long a check waits for goroutines to end, files to be closed and objects to be
// collected before it calls them leaked; 2 s where it is not given. A check ends as soon as the
// test is clean, so a long grace costs only the time to a failure. d must not be negative; 0 looks
// once.
func Grace(d time.Duration) Option { return func(c *config) { c.SetGrace(d) } }

// IgnoreFunc ignores goroutines with a function on their stack whose name starts with prefix. The
// name may be written as a failure prints it, "cache.(*Cache).janitor", or with the import path,
// "example.com/app/cache.(*Cache).janitor".
func IgnoreFunc(prefix string) Option { return func(c *config) { c.IgnoreFunc(prefix) } }

// IgnoreCreatedBy ignores goroutines that were started by a function whose name, written as for
// [IgnoreFunc], starts with prefix.
func IgnoreCreatedBy(prefix string) Option { return func(c *config) { c.IgnoreCreatedBy(prefix) } }

// IgnoreFile ignores open files whose description, as the failure prints it, contains text: a path,
// or an address such as "127.0.0.1:6379" for the connections that a shared client keeps.
func IgnoreFile(text string) Option { return func(c *config) { c.IgnoreFile(text) } }

// IgnoreSite ignores growth at allocation sites whose stack has a function whose name, written as
// for [IgnoreFunc], starts with prefix.
func IgnoreSite(prefix string) Option { return func(c *config) { c.IgnoreSite(prefix) } }

// Goleak passes options of go.uber.org/goleak on to [Main], so that a team keeps its ignore list.
func Goleak(opts ...goleak.Option) Option { return func(c *config) { c.PassToGoleak(opts) } }

// Iterations is how many operations [NoGrowth] runs in a round at the smallest scale; where it is
// not given 20, or fewer where one takes over 5 ms. n must be at least 1.
func Iterations(n int) Option { return func(c *config) { c.SetIterations(n) } }

// Rounds is how many rounds [NoGrowth] measures at the smallest scale; 3 where it is not given. n
// must be at least 2.
func Rounds(n int) Option { return func(c *config) { c.SetRounds(n) } }

// Warmup is how many operations [NoGrowth] runs before it measures, as many as one round where it
// is not given. Raise it above the size of a cache that the operation fills. n must not be
// negative.
func Warmup(n int) Option { return func(c *config) { c.SetWarmup(n) } }

// AllowPerOp lets every allocation site grow by up to this many bytes per operation. Use it for a
// site that is bounded at a size no test reaches.
func AllowPerOp(bytes float64) Option { return func(c *config) { c.SetAllowPerOp(bytes) } }
