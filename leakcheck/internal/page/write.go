package page

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Write puts the page, and numbers as JSON beside it, into a folder, and returns the page's path.
// It numbers the checks that write to one folder: growth, growth-2.
func Write(dir, test string, r *growth.Result, numbers any) (file string, err error) {
	name := filepath.Join(dir, artefactName(dir))
	text, err := json.MarshalIndent(numbers, "", "\t")
	err = errors.Join(err,
		os.MkdirAll(dir, 0o777),
		os.WriteFile(name+".json", append(text, '\n'), 0o666),
		os.WriteFile(name+".html", []byte(HTML(r, test)), 0o666))
	if err != nil {
		return "", err
	}
	return name + ".html", nil
}

// Dir is $LEAKSAFE_DIR/Test/Name, relative to the module's root, or the
// test's own folder under go test -artifacts; empty where neither is asked for.
func Dir(t testing.TB) string {
	if dir := os.Getenv("LEAKSAFE_DIR"); dir != "" {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(source.ModuleRoot(), dir)
		}
		return filepath.Join(dir, filepath.FromSlash(fileName(t.Name())))
	}
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
		return t.ArtifactDir()
	}
	return ""
}

// fileName keeps of a test's name what every file system takes.
func fileName(test string) string {
	test = strings.ReplaceAll(test, "..", "__")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>:"\|?*`, r) || r < ' ' {
			return '_'
		}
		return r
	}, test)
}

var artefacts struct {
	sync.Mutex
	in map[string]int // by folder
}

func artefactName(dir string) string {
	artefacts.Lock()
	defer artefacts.Unlock()
	if artefacts.in == nil {
		artefacts.in = map[string]int{}
	}
	artefacts.in[dir]++
	if n := artefacts.in[dir]; n > 1 {
		return fmt.Sprintf("growth-%d", n)
	}
	return "growth"
}
