package explain

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

func init() {
	if testing.Testing() {
		ownheap.InTest(testing.CoverMode)
	}
}

// takeDump writes and reads a dump of this process. With LEAKSAFE_DUMP=1 the file stays. t may be
// nil. verdict is what is known already: the runtime prints it if it dies while it writes the dump.
func takeDump(t testing.TB, verdict string) (*ownheap.Dump, error) {
	o := ownheap.Options{Source: source.Line, File: source.ShortFile}
	if os.Getenv("LEAKSAFE_DUMP") == "1" {
		o.Keep = keepDir(t)
	}
	if verdict != "" {
		defer gostack.Announce("leakcheck: " + verdict)()
	}
	d, err := ownheap.Take(o)
	if err != nil {
		return nil, err
	}
	if o.Keep != "" && t != nil {
		t.Logf("leakcheck: heap dump kept in %s: it holds whatever was in memory; read it with the command leakcheck", d.File())
	}
	return d, nil
}

func keepDir(t testing.TB) string {
	if dir := os.Getenv("LEAKSAFE_DIR"); dir != "" {
		return dir
	}
	if t != nil {
		return t.ArtifactDir()
	}
	return os.TempDir()
}

// Unknown says why there is no path, and what to do about it.
func Unknown(err error) []string {
	lines := []string{"unknown: " + err.Error()}
	if file := new(fs.PathError); errors.As(err, &file) {
		lines = append(lines, "to see it, set TMPDIR to a folder that can be written and has room for the heap")
	}
	return lines
}
