package pool_test

import (
	"os"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) {
	if run := programs[os.Getenv(programEnv)]; run != nil {
		run()
		return
	}
	// The tests choose their levels themselves.
	os.Unsetenv("LEAKSAFE_POOL")
	leakcheck.Main(m)
}
