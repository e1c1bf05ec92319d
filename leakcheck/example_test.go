package leakcheck_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// A worker that is kept on purpose is named once. Here a benchmark stands for the
// test, because an Example has no t.
func ExampleOption() {
	stop := make(chan struct{})
	defer close(stop)
	passes := func(opts ...leakcheck.Option) bool {
		result := testing.Benchmark(func(b *testing.B) {
			leakcheck.Check(b, opts...)
			startWaiting(stop)
		})
		return result.N > 0
	}
	fmt.Println(passes(leakcheck.Grace(10 * time.Millisecond)))
	fmt.Println(passes(leakcheck.IgnoreCreatedBy("github.com/leaksafe/leaksafe/leakcheck_test.startWaiting")))
	// Output:
	// false
	// true
}
