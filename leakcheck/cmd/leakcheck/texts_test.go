package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

var update = flag.Bool("update", false, "write testdata/texts.txt anew")

// What differs from run to run.
var (
	numbers = regexp.MustCompile(`\d+(?:,\d{3})*(?:\.\d+)*`)
	spaces  = regexp.MustCompile(`  +`)
)

// The texts of the command in one place, for a reader: what it prints, and every error. Numbers are
// N.
func TestTexts(t *testing.T) {
	testgate.Seconds(t)
	s := runService(t)
	b, err := os.ReadFile(s.after)
	require.NoError(t, err)
	file := func(name, text string) string {
		name = filepath.Join(filepath.Dir(s.after), name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	damaged := bytes.Clone(b)
	copy(damaged[100:], bytes.Repeat([]byte{0xee}, 100)) // among the first records
	profile, page := file("heap.pb.gz", "\x1f\x8b\x08\x00"), file("index.html", "<html>")
	short, broken := file("short", string(b[:len(b)/2])), file("damaged", string(damaged))
	old := file("old", "go1.4 heap dump\n\x06")
	var out strings.Builder
	for _, args := range [][]string{
		{},
		{"sumary"},
		{"-h"},
		{"why", "-h"},
		{"dump", "-h"},
		{"dump", "-pid", "7"},
		{"dump", "out.dump"},
		{"dump", "-pid", "7", "-core", "core", "out.dump"},
		{"dump", "-pid", "0", "out.dump"},
		{"dump", "-pid", "7", s.after},
		{"summary"},
		{"summary", "-pid", "7", s.after},
		{"summary", "-pid", "seven"},
		{"summary", "-rows", "1", s.after},
		{"summary", "-html", "no/such/page.html", s.after},
		{"compare", s.before},
		{"compare", "-pid", "7"},
		{"why", "-type", "T"},
		{"why", "-pid", "7"},
		{"why", "-pid", "7", "-type", "T", s.after},
		{"why", "-pid", "7", "-type", "T", "-site", "F"},
		{"why", "-pid", "7", "-addr", "zz"},
		{"flame"},
		{"flame", "-pid", "7", "a", "b", "c"},
		{"flame", "a", "b.pb.gz", "c.pb.gz"},
		{"flame", s.after, "no/such/out.pb.gz"},
		{"flame", s.after, "out.pprof"},
		{"dump", "-pid", "7", ""},
		{"summary", s.after, "-n", "-1"},
		{"summary", "4711"},
		{"watch"},
		{"watch", "http://a", "http://b"},
		{"summary", s.after, "-n", "1"},
		{"why", s.after, "-exe", s.exe, "-type", "session", "-n", "1"},
		{"why", s.after, "-exe", s.exe, "-type", "Session"},
		{"summary", s.after, "-exe", s.exe, "-n", "1"},
		{"compare", s.before, s.after, "-exe", s.exe, "-n", "1"},
		{"compare", s.after, s.after},
		{"why", s.after, "-exe", s.exe, "-site", "main.(*sessions).start", "-n", "2"},
		{"why", s.after, "-exe", s.exe, "-type", "main.session"},
		{"why", s.after},
		{"why", s.after, "-site", "nowhere"},
		{"why", s.after, "-type", "main.session"},
		{"why", s.after, "-type", "main.nothing", "-exe", s.exe},
		{"why", s.after, "-addr", "zz"},
		{"why", s.after, "-addr", "10"},
		{"summary", filepath.Join(filepath.Dir(s.after), "missing")},
		{"summary", s.exe},
		{"summary", profile},
		{"summary", page},
		{"summary", short},
		{"summary", broken, "-n", "1"},
		{"summary", old},
		{"summary", s.after, "-exe", page},
	} {
		var text bytes.Buffer
		err := run(args, &text, &text)
		out.WriteString("$ leakcheck " + strings.Join(args, " ") + "\n" + text.String())
		if err != nil {
			out.WriteString("leakcheck: " + err.Error() + "\nexit code " + []string{"zero", "one", "two"}[exitCode(err)] + "\n")
		}
		out.WriteString("\n")
	}
	got := strings.ReplaceAll(out.String(), filepath.Dir(s.after)+string(filepath.Separator), "")
	got = numbers.ReplaceAllString(got, "N")
	got = spaces.ReplaceAllString(got, "  ")
	const golden = "testdata/texts.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.True(t, string(want) == got, "%s differs, -update writes it. It is now:\n%s", golden, got)
}
