package hints

import (
	"strconv"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
)

var seen = map[string]int{}

func visit(name string) { seen[name]++ }

func TestSameKey(t *testing.T) {
	leakcheck.NoGrowth(t, func() { visit("ada") }) // want `every operation uses the same key: a map that grows by key is not seen; vary it, as with strconv.Itoa\(n\)`
}

func TestOtherKeys(t *testing.T) {
	n := 0
	leakcheck.NoGrowth(t, func() { n++; visit("user " + strconv.Itoa(n)) })
}

func TestNoKey(t *testing.T) {
	leakcheck.NoGrowth(t, func() { visit(next()) })
}

func next() string { return "" }
