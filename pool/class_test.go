package pool_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// Every length to 64 MiB, one by one.
func TestEveryLengthHasTheSmallestClass(t *testing.T) {
	testgate.Seconds(t)
	for n := 1; n <= 64*mib; n++ {
		class := pool.ClassOf(n)
		size := pool.ClassSize(class)
		smallest := class == 0 || pool.ClassSize(class-1) < n
		little := size-n <= n/4 || n <= 64<<10 && size < max(2*n, 257)
		if size < n || !smallest || !little {
			t.Fatalf("%d bytes take class %d of %d bytes", n, class, size)
		}
	}
}

func TestClasses(t *testing.T) {
	before := 0
	for class := 0; pool.ClassSize(class) < math.MaxInt/2; class++ {
		size := pool.ClassSize(class)
		require.Greater(t, size, before)
		for _, n := range []int{before + 1, before + (size-before)/2, size} {
			require.Equal(t, class, pool.ClassOf(n), n)
			if n > 64<<10 {
				require.LessOrEqual(t, size-n, n/4, "at most a quarter more than asked for")
			}
		}
		before = size
	}
	assert.Equal(t, 80<<10, pool.ClassSize(pool.ClassOf(65<<10)), "65 KiB do not take 128 KiB")
	assert.Equal(t, pool.ClassOf(1), pool.ClassOf(0))
}
