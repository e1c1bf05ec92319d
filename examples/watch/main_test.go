package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		main()
		return
	}
	if os.Getenv(wholeEnv) != "" {
		_ = os.Unsetenv(wholeEnv) // its children are themselves
		main()
		return
	}
	leakcheck.Main(m)
}

func TestPressureDrainsAndRestarts(t *testing.T) {
	if os.Getenv("LEAKSAFE_CI") == "" && os.Getenv("LEAKSAFE_LONG") == "" {
		t.Skip("four lives of a service take 15 seconds: set LEAKSAFE_CI=1")
	}
	race := debug.BuildSetting{Key: "-race", Value: "true"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, race) {
		t.Skip("the race detector's own memory fills the service's 128 MiB: run without -race")
	}
	var out bytes.Buffer
	dir := t.TempDir()
	require.NoError(t, supervise(t.Context(), &out, dir, 4, 0), "%s", out.String())
	assert.Equal(t, 4, strings.Count(out.String(), "     0            1"),
		"four lives, none lost a message, each ended above 80 %% of 128 MiB:\n%s", out.String())
	assert.Contains(t, out.String(),
		"found: memory climbed and fell with a restart 3 times in a row")
	page, err := os.ReadFile(filepath.Join(dir, "page.html"))
	require.NoError(t, err)
	assert.Regexp(t, `class="live" d="M[^M"]+M[^M"]+M[^M"]+M`, string(page),
		"three mountains and the fourth life")
}
