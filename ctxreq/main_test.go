package ctxreq_test

import (
	"testing"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) {
	ctxreq.Patient()
	leakcheck.Main(m)
}
