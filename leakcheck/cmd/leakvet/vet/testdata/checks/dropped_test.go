package checks

import (
	"context"
	"testing"

	"github.com/leaksafe/leaksafe/batch"
)

func TestRefused(t *testing.T) {
	_, err := batch.New(batch.Options[int]{MaxItems: -1}, func(context.Context, []int) error { return nil })
	if err == nil {
		t.Error("not refused")
	}
}
