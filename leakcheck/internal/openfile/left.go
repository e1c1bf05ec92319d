package openfile

import (
	"runtime"
	"slices"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
)

// Left are the descriptors that a verdict is about. It is not safe for concurrent use.
type Left struct {
	Before   []fd.File      // all that was open before the test
	Unowned  []fd.File      // what was open before the first test
	Own      []blame.Opened // only the test can have opened them
	Doubtful []blame.Opened // one of several tests has
	Replaced []blame.Opened // connections that took the place of others: they are in neither
	Shared   []blame.Opened // connections that a shared client may keep: they are in neither
}

// None reports whether nothing is left.
func (o *Left) None() bool { return len(o.Own) == 0 && len(o.Doubtful) == 0 }

// DropReplaced takes the connections out of o that took the place of others.
func (o *Left) DropReplaced(now []fd.File) {
	replaced := blame.Replaced(o.Before, now, slices.Concat(o.Replaced, o.Own, o.Doubtful))
	for _, f := range slices.Concat(o.Own, o.Doubtful) {
		if replaced[f.Descriptor] {
			o.Replaced = append(o.Replaced, f)
		}
	}
	o.drop(func(f blame.Opened) bool { return replaced[f.Descriptor] })
}

// ClientsReplaced is how many connections of clients took the place of others. The other end of
// one, where it is in this process, has an address that no connection had before.
func (o *Left) ClientsReplaced() (n int) {
	for _, f := range o.Replaced {
		if slices.ContainsFunc(o.Before, func(b fd.File) bool { return b.Remote == f.Remote }) {
			n++
		}
	}
	return n
}

// TakePooled takes the connections out of o that a shared HTTP client may have put into its pool,
// with their other ends, unless they are more than the clients' connections that are idle. It
// returns how many they are.
func (o *Left) TakePooled(idle int) int {
	now := fd.List()
	clients := blame.Pooled(o.Unowned, o.Before, now)
	if len(clients) > idle {
		return 0
	}
	pooled := map[fd.Descriptor]bool{}
	for _, f := range now {
		pooled[f.Descriptor] = slices.ContainsFunc(clients, func(c fd.File) bool {
			return f == c || f.Local == c.Remote && f.Remote == c.Local
		})
		if pooled[f.Descriptor] {
			o.Shared = append(o.Shared, blame.Opened{File: f})
		}
	}
	o.drop(func(f blame.Opened) bool { return pooled[f.Descriptor] })
	return len(clients)
}

// Refresh drops what has been closed, and connections that took the place of others.
func (o *Left) Refresh() {
	if o.None() {
		return
	}
	now := fd.List()
	o.drop(closedIn(now))
	o.DropReplaced(now)
	if pooled := slices.DeleteFunc(slices.Clone(o.Own), func(f blame.Opened) bool { return !f.Pooled() }); len(pooled) > 0 && len(pooled) == len(o.Own) {
		o.Collect()
	}
}

// Collect drops pipes that a pool of the standard library holds: io.Copy between two connections
// uses one, and only the second collection closes it. A dropped *os.File is closed by a collection
// too; but its verdict is known by then.
func (o *Left) Collect() {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		runtime.GC()
		closed := closedIn(fd.List())
		o.drop(func(f blame.Opened) bool { return f.Pooled() && closed(f) })
		if !slices.ContainsFunc(slices.Concat(o.Own, o.Doubtful), func(f blame.Opened) bool { return f.Pooled() }) {
			return
		}
	}
}

func (o *Left) drop(which func(blame.Opened) bool) {
	o.Own, o.Doubtful = slices.DeleteFunc(o.Own, which), slices.DeleteFunc(o.Doubtful, which)
}

// closedIn reports of a descriptor that it is not among those that are open now.
func closedIn(now []fd.File) func(blame.Opened) bool {
	open := map[fd.Descriptor]bool{}
	for _, f := range now {
		open[f.Descriptor] = true
	}
	return func(f blame.Opened) bool { return !open[f.Descriptor] }
}

// TakeSockets removes the sockets from o when the goroutines are those of connections: one cause,
// one failure.
func (o *Left) TakeSockets(group []*gostack.Goroutine) (sockets []blame.Opened) {
	if !advice.OfConnection(group[0]) {
		return nil
	}
	o.Own = slices.DeleteFunc(o.Own, func(f blame.Opened) bool {
		if f.Kind() == "socket" {
			sockets = append(sockets, f)
			return true
		}
		return false
	})
	return sockets
}
