package leaksafe

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPackagesCanBeCopied does what a reader does: it copies an example into a module of its own,
// and vets and tests it there. Only .ci/run and .ci/long ask for it: `go mod tidy` downloads more
// than the root module needs.
func TestPackagesCanBeCopied(t *testing.T) {
	copyAll(t, func(dir string) bool { return !isModule(dir) })
}

// TestModulesCanBeCopied does the same with the examples that are modules. Their dependencies are
// more than a gigabyte, so that only .ci/long asks for it.
func TestModulesCanBeCopied(t *testing.T) {
	copyAll(t, isModule)
}

func copyAll(t *testing.T, wanted func(dir string) bool) {
	if os.Getenv("LEAKSAFE_COPY") == "" {
		t.Skip("copies and tidies examples, and downloads what they need: set LEAKSAFE_COPY=1")
	}
	var files []string
	for _, pattern := range []string{"examples/*/*.go", "examples/*/*/*.go"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	dirs := map[string]bool{}
	for _, file := range files {
		// A folder of a module or of a program is copied with the folder above it.
		if dir := filepath.Dir(file); wanted(dir) && (isModule(dir) || filepath.Dir(dir) == "examples") {
			dirs[dir] = true
		}
	}
	require.NotEmpty(t, dirs)
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		copyOf(t, dir)
	}
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

const module = "github.com/leaksafe/leaksafe"

var replaced = regexp.MustCompile(`(?m)^(// Delete this line.*\n)?replace .*$`)

// copyOf copies a folder, points its module to this checkout, and runs go vet and go test in it.
func copyOf(t *testing.T, dir string) {
	t.Run(filepath.Base(dir), func(t *testing.T) {
		to := t.TempDir()
		require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
		root, err := os.Getwd()
		require.NoError(t, err)
		point := "replace " + module + " => " + root
		modFile := filepath.Join(to, "go.mod")
		text, err := os.ReadFile(modFile)
		if os.IsNotExist(err) {
			text = []byte("module example.com/copy\n\ngo 1.26.0\n\nrequire " + module + " v0.0.0\n")
			sums, err := os.ReadFile("go.sum")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, "go.sum"), sums, 0o600))
			rename(t, to, module+"/"+filepath.ToSlash(dir), "example.com/copy")
		} else {
			require.NoError(t, err)
		}
		text = append(replaced.ReplaceAll(text, nil), "\n"+point+"\n"...)
		require.NoError(t, os.WriteFile(modFile, text, 0o600))
		run(t, to, "go", "mod", "tidy")
		run(t, to, "go", "vet", "./...")
		run(t, to, "go", "test", "./...")
	})
}

// rename changes an import path in a folder's files.
func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o600))
	}
}

func run(t *testing.T, dir string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v\n%s", command, out)
}
