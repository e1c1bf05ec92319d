package failure

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFailureText(t *testing.T) {
	f := Failure{Title: "1 goroutine outlives TestPut"}
	f.Add("blocked in", "chan receive, 2 s")
	f.Add("remedy", "close the channel,", "or give the goroutine a context")
	f.Add("empty")
	assert.Equal(t, strings.Join([]string{
		"leakcheck: 1 goroutine outlives TestPut",
		"    blocked in     chan receive, 2 s",
		"    remedy         close the channel,",
		"                   or give the goroutine a context",
	}, "\n"), f.String())
}

func TestAnnotation(t *testing.T) {
	f := Failure{Title: "50% of it\nleaks", File: "a,b.go", Line: 3}
	var b strings.Builder
	t.Setenv("GITHUB_ACTIONS", "")
	f.Annotate(&b)
	assert.Empty(t, b.String(), "outside GitHub Actions")
	t.Setenv("GITHUB_ACTIONS", "true")
	f.Annotate(&b)
	assert.Equal(t, "::error file=a%2Cb.go,line=3::leakcheck: 50%25 of it%0Aleaks\n", b.String())
}
