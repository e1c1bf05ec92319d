package leakcheck

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFailureText(t *testing.T) {
	f := failure{title: "1 goroutine outlives TestPut"}
	f.add("blocked in", "chan receive, 2 s")
	f.add("remedy", "close the channel,", "or give the goroutine a context")
	f.add("empty")
	assert.Equal(t, strings.Join([]string{
		"leakcheck: 1 goroutine outlives TestPut",
		"    blocked in     chan receive, 2 s",
		"    remedy         close the channel,",
		"                   or give the goroutine a context",
	}, "\n"), f.String())
}

func TestAnnotation(t *testing.T) {
	f := failure{title: "50% of it\nleaks", file: "a,b.go", line: 3}
	var b strings.Builder
	t.Setenv("GITHUB_ACTIONS", "")
	f.annotate(&b)
	assert.Empty(t, b.String(), "outside GitHub Actions")
	t.Setenv("GITHUB_ACTIONS", "true")
	f.annotate(&b)
	assert.Equal(t, "::error file=a%2Cb.go,line=3::leakcheck: 50%25 of it%0Aleaks\n", b.String())
}
