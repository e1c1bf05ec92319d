// Command leakvet finds misuse of leaksafe's packages before it runs: a lease, scope, batcher or
// watcher that is not ended on some path, a lease that is used after Release, a mapper or pool that
// is built on every call, a handler's w or r in a goroutine that outlives it, and leak tests that
// cannot see the leak.
//
//	go install github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet@latest
//	leakvet ./...
//	go vet -vettool=$(which leakvet) ./...
//	leakvet -fix ./...
//
// A line is silenced by a comment with a reason, on it or above it:
//
//	b := buffers.Get(0) //nolint:leakvet // the caller of Send releases it
//
// A deferred Release in a loop is not reported, although its leases last until the function
// returns. -fix formats the whole file that it changes, as gofmt does. A package that does not
// compile or is not found is not checked: the first line of the output says why, and "failed
// prerequisites" means only that.
//
// Generated files are not checked. Package golangci is the same as a module plugin of
// golangci-lint.
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet/vet"
)

func main() { singlechecker.Main(vet.Analyzer) }
