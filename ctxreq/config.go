package ctxreq

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leaksafe/leaksafe/ctxreq/internal/scrub"
)

// Config says how scopes behave. The zero value is ready to use. One Config serves a whole
// service: it knows which of its scopes are active. Do not change or copy it once it is in use.
type Config struct {
	// Reporter gets every Report. If it is nil, reports are logged with slog.Default.
	Reporter Reporter
	// Grace is how long End waits for children after it has cancelled them; 0 means 100 ms. It
	// delays the end of the response only if a child ignores its context.
	Grace time.Duration
	// CleanupTimeout is the deadline of each cleanup; 0 means 1 s.
	CleanupTimeout time.Duration
	// Timeout is how long after its start a scope's context is cancelled; 0 means never.
	Timeout time.Duration
	// MaxChildren bounds the children of one scope that run at once, and the jobs of one Jobs; 0
	// means 64.
	MaxChildren int
	// Show adds to what reports show. Names of headers, cookies, parameters and fields are always
	// shown. Values are shown if their name is on the package's list and they have the form that
	// belongs to it, or if Show returns true. A value that has the shape of a credential stays
	// hidden. Show may be called by several goroutines at once; so may Hide. If one of them panics,
	// the value is hidden.
	Show func(name, value string) bool
	// Hide hides values that would be shown. It wins over Show. For the path of a URL, name is
	// "path"; for its host, "Host".
	Hide func(name, value string) bool
	// BodyCapture is how many bytes of the request body reports show, from its beginning, and only
	// what the handler has read; 0 means none. Values inside are shown by the same rules as
	// headers.
	BodyCapture int
	// Repanic panics again, with the same value, after a panic was reported and the scope has
	// ended. Otherwise Middleware answers 500, and Run and RPC return an error.
	Repanic bool
	// RetentionProbe watches finished requests: one that is still reachable two garbage
	// collections after its end is reported as KindRetained, when a later request ends or InFlight
	// is called. At most 64 requests are watched between two collections.
	RetentionProbe bool

	once   sync.Once
	tomb   state // the state that ended scopes point to
	active [8]shard
	dumped atomic.Int64 // when the stacks of all goroutines were last taken, in Unix nanoseconds
	probe  probe
	broken atomic.Bool // Show or Hide has panicked
}

// zero is the Config of scopes started without any.
var zero Config

func (c *Config) init() {
	c.tomb.tomb, c.tomb.cfg = true, c
}

// Defaults. The tests raise them, so that a busy machine fails no test.
var defaultGrace, defaultCleanup = 100 * time.Millisecond, time.Second

func (c *Config) grace() time.Duration   { return or(c.Grace, defaultGrace) }
func (c *Config) cleanup() time.Duration { return or(c.CleanupTimeout, defaultCleanup) }
func (c *Config) limit() int             { return or(c.MaxChildren, 64) }
func (c *Config) rules() scrub.Rules {
	return scrub.Rules{Show: c.guarded("Show", c.Show, false), Hide: c.guarded("Hide", c.Hide, true)}
}

// guarded calls a function of the user that must not break a report: a value is hidden if the
// function panics. The first panic is logged.
func (c *Config) guarded(name string, f func(name, value string) bool, otherwise bool) func(name, value string) bool {
	if f == nil {
		return nil
	}
	return func(of, value string) (answer bool) {
		returned := false
		defer func() {
			if !returned {
				recover()
				answer = otherwise
				if !c.broken.Swap(true) {
					slog.Error("ctxreq: Config."+name+" panicked; such values are hidden", "name", scrub.Name(of))
				}
			}
		}()
		answer = f(of, value)
		returned = true
		return answer
	}
}

// patience is how long End waited for t.
func (c *Config) patience(t *task) time.Duration {
	if t.result != nil {
		return c.cleanup() + c.grace()
	}
	return c.grace()
}

func or[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}
