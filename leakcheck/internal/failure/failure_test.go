package failure

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
	"github.com/stretchr/testify/assert"
)

func TestFailureText(t *testing.T) {
	f := Failure{Title: "goroutine leak: 1 goroutine is still running after TestPut"}
	f.Add("blocked in", "chan receive, 2 s")
	f.Add("fix", "close the channel,", "or give the goroutine a context")
	f.Add("empty")
	assert.Equal(t, strings.Join([]string{
		"leakcheck: goroutine leak: 1 goroutine is still running after TestPut",
		"    blocked in     chan receive, 2 s",
		"    fix            close the channel,",
		"                   or give the goroutine a context",
	}, "\n"), f.String())
}

func TestAnnotation(t *testing.T) {
	f := Failure{Title: "50% of it\nleaks", File: filepath.Join(source.ModuleRoot(), "a,b.go"), Line: 3}
	var b strings.Builder
	t.Setenv("GITHUB_ACTIONS", "")
	f.Annotate(&b)
	assert.Empty(t, b.String(), "outside GitHub Actions")
	t.Setenv("GITHUB_ACTIONS", "true")
	t.Setenv("GITHUB_WORKSPACE", source.ModuleRoot())
	f.Annotate(&b)
	assert.Equal(t, "::error file=a%2Cb.go,line=3::leakcheck: 50%25 of it%0Aleaks\n", b.String())
	b.Reset()
	f.File = "/elsewhere/c.go"
	f.Annotate(&b)
	assert.Equal(t, "::error::leakcheck: 50%25 of it%0Aleaks\n", b.String(), "GitHub shows no file outside the repository")
}
