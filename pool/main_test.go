package pool_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The tests choose their levels themselves.
	os.Unsetenv("LEAKSAFE_POOL")
	goleak.VerifyTestMain(m)
}
