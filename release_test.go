package leaksafe

import (
	"archive/zip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	released = regexp.MustCompile(`(?m)^## (v\d+\.\d+\.\d+)`)
	required = regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(module) + ` (v\S+)`)
)

// nextVersion is the version that is tagged next: the first in CHANGELOG.md.
func nextVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("CHANGELOG.md")
	require.NoError(t, err)
	found := released.FindSubmatch(text)
	require.NotNil(t, found)
	return string(found[1])
}

// moduleDirs returns the folders of all modules that git knows, relative to the root's.
func moduleDirs(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, file := range tracked(t) {
		if path.Base(file) == "go.mod" {
			dirs = append(dirs, path.Dir(file))
		}
	}
	require.Contains(t, dirs, ".")
	return dirs
}

func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Skip("needs git and a clone: ", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// TestNestedModulesRequireTheNextVersion: users of a nested module, and those who copy an example
// and delete its replace, get the version that its go.mod requires.
func TestNestedModulesRequireTheNextVersion(t *testing.T) {
	next := nextVersion(t)
	n := 0
	for _, dir := range moduleDirs(t) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		for _, found := range required.FindAllSubmatch(text, -1) {
			n++
			assert.Equal(t, next, string(found[1]), "%s/go.mod: the first version in CHANGELOG.md is what is tagged next", dir)
		}
	}
	assert.Greater(t, n, 5)
}

// TestModulesResolveAfterTagging serves this checkout's modules as the version that is tagged next,
// and gets and installs from them in an empty module, as CONTRIBUTING.md and the README say. It
// compiles nothing. Only .ci/run asks for it: it downloads what pool/grpcpool needs.
func TestModulesResolveAfterTagging(t *testing.T) {
	if os.Getenv("LEAKSAFE_COPY") == "" {
		t.Skip("downloads what pool/grpcpool needs: set LEAKSAFE_COPY=1")
	}
	next := nextVersion(t)
	r := newRelease(t)
	for _, dir := range []string{".", "leakcheck/cmd/leakvet", "pool/grpcpool"} {
		r.publish(t, dir, next, func(goMod string) string { return goMod })
	}
	for _, pkg := range []string{"leakcheck", "pool/grpcpool"} {
		assert.Empty(t, r.get(t, pkg, next), "go get %s", pkg)
	}
	for _, pkg := range []string{"leakcheck/cmd/leakcheck", "leakcheck/cmd/leakvet", "examples/ssr"} {
		assert.Empty(t, r.install(t, pkg, next), "go install %s", pkg)
	}

	// Negative controls: a version that nobody has tagged, and a program's go.mod with a replace.
	const bad = "v0.99.0"
	r.publish(t, "pool/grpcpool", bad, func(goMod string) string {
		return strings.Replace(goMod, module+" "+next, module+" v0.0.0", 1)
	})
	assert.Contains(t, r.get(t, "pool/grpcpool", bad), module+"@v0.0.0")
	r.publish(t, "leakcheck/cmd/leakvet", bad, func(goMod string) string {
		return goMod + "\nreplace golang.org/x/mod => ../mod\n"
	})
	assert.Contains(t, r.install(t, "leakcheck/cmd/leakvet", bad), "replace directives")
}

// A release is a module proxy made of files.
type release struct {
	proxy string
	env   []string
}

func newRelease(t *testing.T) *release {
	run(t, "pool/grpcpool", "go", "mod", "download")
	run(t, "leakcheck/cmd/leakvet", "go", "mod", "download")
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	require.NoError(t, err)
	r := &release{proxy: t.TempDir()}
	proxies := fileURL(r.proxy) + "," + fileURL(filepath.Join(strings.TrimSpace(string(out)), "cache", "download"))
	// A module cache of its own, or the checkout would be in the user's as a version.
	r.env = append(os.Environ(), "GOPROXY="+proxies, "GOMODCACHE="+t.TempDir(), "GOBIN="+t.TempDir(),
		"GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GOWORK=off", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod -modcacherw")
	return r
}

func fileURL(dir string) string {
	return "file://" + path.Join("/", filepath.ToSlash(dir))
}

// publish puts the module in a folder of this checkout into the proxy.
func (r *release) publish(t *testing.T, dir, version string, edit func(goMod string) string) {
	t.Helper()
	name := path.Join(module, dir)
	to := filepath.Join(r.proxy, filepath.FromSlash(name), "@v")
	require.NoError(t, os.MkdirAll(to, 0o755))
	write := func(suffix, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(to, version+suffix), []byte(text), 0o600))
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	goMod := edit(string(text))
	write(".mod", goMod)
	write(".info", `{"Version":"`+version+`","Time":"2026-01-01T00:00:00Z"}`)
	require.NoError(t, os.WriteFile(filepath.Join(to, "list"), []byte(version+"\n"), 0o600))

	file, err := os.Create(filepath.Join(to, version+".zip"))
	require.NoError(t, err)
	defer file.Close()
	z := zip.NewWriter(file)
	for _, source := range sourcesOf(t, dir) {
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		inside := strings.TrimPrefix(source, dir+"/")
		if inside == "go.mod" {
			text = []byte(goMod)
		}
		w, err := z.Create(name + "@" + version + "/" + inside)
		require.NoError(t, err)
		_, err = w.Write(text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
}

// sourcesOf lists what git has of the module in a folder, without the modules nested in it.
func sourcesOf(t *testing.T, dir string) (sources []string) {
	modules := moduleDirs(t)
	for _, file := range tracked(t) {
		nearest := "."
		for _, m := range modules {
			if strings.HasPrefix(file, m+"/") && len(m) > len(nearest) {
				nearest = m
			}
		}
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && nearest == dir {
			sources = append(sources, file)
		}
	}
	require.NotEmpty(t, sources, dir)
	return sources
}

// get returns what go says when a package of a version cannot be used in an empty module.
func (r *release) get(t *testing.T, pkg, version string) string {
	t.Helper()
	dir := t.TempDir()
	importer := "package main\n\nimport _ \"" + module + "/" + pkg + "\"\n\nfunc main() {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(importer), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/empty\n\ngo 1.26.0\n"), 0o600))
	if out := r.goCommand(t, dir, "get", module+"/"+pkg+"@"+version); out != "" {
		return out
	}
	return r.goCommand(t, dir, "list", "-deps", "./...")
}

// install returns what go says when a program of a version cannot be installed.
func (r *release) install(t *testing.T, pkg, version string) string {
	t.Helper()
	return r.goCommand(t, t.TempDir(), "install", "-n", module+"/"+pkg+"@"+version)
}

// goCommand returns the output of a command that fails.
func (r *release) goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return err.Error() + "\n" + string(out)
}
