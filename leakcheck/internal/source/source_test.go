package source

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShortFunc(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sessions.go")
	require.NoError(t, os.WriteFile(file, []byte("// Package x stands in a comment.\npackage sessions\n"), 0o600))
	for _, row := range []struct{ name, file, want string }{
		{"example.com/app/cache.(*Store).Put", "", "cache.(*Store).Put"},
		{"main.main", "", "main.main"},
		{"github.com/robfig/cron/v3.(*Cron).Start", "", "cron.(*Cron).Start"},
		{"github.com/robfig/cron/v3_test.TestStart.func1", "", "cron_test.TestStart.func1"},
		{"gopkg.in/yaml%2ev3.Unmarshal", "", "yaml.Unmarshal"},
		{"example.com/a.Map[go.shape.*example.com/b.T]", "", "a.Map[go.shape.*example.com/b.T]"},
		{"example.com/app/leakcheck.(*Session).Close", file, "sessions.(*Session).Close"},
		{"example.com/gone.F", filepath.Join(dir, "gone.go"), "gone.F"},
	} {
		assert.Equal(t, row.want, ShortFunc(row.name, row.file))
	}
}

func TestMatches(t *testing.T) {
	f := Frame{Func: "github.com/robfig/cron/v3.(*Cron).Start"}
	for _, prefix := range []string{"github.com/robfig/cron", "v3.(*Cron)", "cron.(*Cron).Start", "cron.("} {
		assert.True(t, f.Matches(prefix), prefix)
	}
	assert.False(t, f.Matches("Start"))
	assert.False(t, f.Matches("example.com/cron"))
}

func here() Frame {
	_, file, line, _ := runtime.Caller(1)
	return Frame{Func: "github.com/leaksafe/leaksafe/leakcheck/internal/source.here", File: file, Line: line}
}

func TestWhereAFrameBelongs(t *testing.T) {
	assert.True(t, here().InModule())
	assert.False(t, here().InLibrary())
	library := Frame{Func: "strings.Cut", File: Library() + "strings/strings.go"}
	assert.False(t, library.InModule())
	assert.True(t, library.InLibrary())
	for _, file := range []string{
		ModuleRoot() + "/vendor/example.com/x/x.go",
		ModuleRoot() + "/.cache/mod/example.com/x@v1.0.0/x.go",
		"/go/pkg/mod/example.com/x@v1.0.0/x.go",
	} {
		assert.False(t, Frame{Func: "example.com/x.F", File: file}.InModule(), file)
	}
	assert.True(t, Frame{File: ModulePath() + "/pool/pool.go"}.InModule(), "as -trimpath names it")
}

func TestShortFile(t *testing.T) {
	const short = "leakcheck/internal/source/source_test.go"
	assert.Equal(t, short, ShortFile(here().File))
	assert.Equal(t, short, ShortFile(ModulePath()+"/"+short), "under -trimpath")
	assert.Equal(t, "strings/strings.go", ShortFile(Library()+"strings/strings.go"))
	assert.Equal(t, "example.com/x@v1.0.0/x.go", ShortFile("/go/pkg/mod/example.com/x@v1.0.0/x.go"))
	assert.Equal(t, "/elsewhere/x.go", ShortFile("/elsewhere/x.go"))
}

func TestRepositoryFile(t *testing.T) {
	file := here().File
	t.Setenv("GITHUB_WORKSPACE", filepath.Dir(filepath.Dir(file)))
	if filepath.IsAbs(file) { // under -trimpath it is not
		assert.Equal(t, "source/source_test.go", RepositoryFile(file), "relative to the workspace, not to the module")
	}
	t.Setenv("GITHUB_WORKSPACE", "")
	assert.Equal(t, "leakcheck/internal/source/source_test.go", RepositoryFile(file))
	assert.Equal(t, "leakcheck/internal/source/source_test.go", RepositoryFile(ModulePath()+"/leakcheck/internal/source/source_test.go"), "under -trimpath")
	assert.Empty(t, RepositoryFile("/go/pkg/mod/example.com/x@v1.0.0/x.go"))
	assert.Empty(t, RepositoryFile(Library()+"strings/strings.go"))
}
