package leaksafe

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// pages are the documents whose code, links and commands are promises.
func pages(t *testing.T) map[string]string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/README.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		names = append(names, found...)
	}
	require.Contains(t, names, "README.md")
	texts := make(map[string]string)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	return texts
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

func TestCodeInPagesCompiles(t *testing.T) {
	overlay := map[string]map[string]string{"Replace": {}}
	var packages []string
	root, err := os.Getwd()
	require.NoError(t, err)
	temp := t.TempDir()
	for name, text := range pages(t) {
		if filepath.Dir(name) != "." && !testgate.CI() {
			continue
		}
		for i, block := range goBlock.FindAllStringSubmatch(text, -1) {
			code := block[1]
			require.Regexp(t, `(?m)^package `, code, "%s: Go block %d is no file: start it with its package clause", name, i)
			pkg := fmt.Sprintf("page_%s_%d", regexp.MustCompile(`\W`).ReplaceAllString(name, "_"), i)
			const file = "code.go" // a test, too: go build compiles it, and links nothing
			real := filepath.Join(temp, pkg+file)
			require.NoError(t, os.WriteFile(real, []byte(code), 0o600))
			overlay["Replace"][filepath.Join(root, pkg, file)] = real
			packages = append(packages, "./"+pkg)
		}
	}
	require.NotEmpty(t, packages)
	list, err := json.Marshal(overlay)
	require.NoError(t, err)
	overlayFile := filepath.Join(temp, "overlay.json")
	require.NoError(t, os.WriteFile(overlayFile, list, 0o600))
	args := append([]string{"build", "-o", os.DevNull, "-overlay", overlayFile}, packages...)
	out, err := exec.Command("go", args...).CombinedOutput()
	require.NoError(t, err, "go %v\n%s", args, out)
}

var (
	link    = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	picture = regexp.MustCompile(`<img src="([^"]+)"`)
)

func TestLinksInPagesLeadSomewhere(t *testing.T) {
	for name, text := range pages(t) {
		all := append(link.FindAllStringSubmatch(text, -1), picture.FindAllStringSubmatch(text, -1)...)
		for _, m := range all {
			if strings.Contains(m[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(name), m[1]))
			assert.NoError(t, err, "%s links to %s", name, m[1])
		}
	}
}

var goRun = regexp.MustCompile(`go run (?:-C (\S+) )?(\./[\w./-]*|\.)`)

func TestCommandsInPagesNamePrograms(t *testing.T) {
	for name, text := range pages(t) {
		for _, m := range goRun.FindAllStringSubmatch(text, -1) {
			dir := filepath.Join(m[1], m[2])
			found, err := filepath.Glob(filepath.Join(dir, "*.go"))
			require.NoError(t, err)
			assert.NotEmpty(t, found, "%s says %q, and there is no program in %s", name, m[0], dir)
		}
	}
}

// The first thing to copy stands where a reader sees it without turning a page.
func TestReadmeBeginsWithCode(t *testing.T) {
	before, _, found := strings.Cut(pages(t)["README.md"], "```go")
	assert.True(t, found)
	assert.LessOrEqual(t, strings.Count(before, "\n"), 30)
}
