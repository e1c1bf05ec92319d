package leaksafe

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// An output is a block of a page, and the command before it that prints it.
type output struct{ command, block string }

// outputsIn returns the blocks without a language that follow a go run under the same heading. The
// command is in a block of its own, or indented.
func outputsIn(page string) (all []output) {
	var command, language string
	var block []string
	fenced := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch after, fence := strings.CutPrefix(line, "```"); {
		case fence && !fenced:
			fenced, language, block = true, after, nil
		case fence:
			fenced = false
			if language == "" && command != "" {
				all = append(all, output{command, strings.Join(block, "\n")})
				command = ""
			}
		case fenced:
			block = append(block, line)
		case strings.HasPrefix(line, "#"):
			command = ""
		}
		if isCommand := strings.HasPrefix(strings.TrimSpace(line), "go run "); isCommand &&
			(strings.HasPrefix(line, "    ") || fenced && language == "sh") {
			command = strings.TrimSpace(line)
		}
	}
	return all
}

// blockWith returns the block of a page that contains a text.
func blockWith(t *testing.T, page, text string) string {
	t.Helper()
	for _, block := range translationOf(read(t, page)).blocks {
		if _, after, _ := strings.Cut(block, "\n"); strings.Contains(after, text) {
			return after
		}
	}
	t.Fatalf("%s has no block with %q", page, text)
	return ""
}

var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`^measured .*`), "measured"},                                     // it stops when it is certain
	{regexp.MustCompile(`\S*/?(graph|report|page)\.(html|json)( in a new .*)?`), "file"}, // in a temporary folder
	{regexp.MustCompile(`[▁▂▃▄▅▆▇█]+`), "graph"},
	{regexp.MustCompile(`(\([^()]*\.go:)\d+\)`), "${1}N)"}, // a table's line in a package, which may move
	{regexp.MustCompile(`(\.go:)(\d+)`), "$1$2#"},          // a number that does not vary
	{regexp.MustCompile(`[+-]?\d[\d.,]*( ?(B|KiB|MiB|GiB|µs|ms|s)\b)?([^\d#]|$)`), "N$3"},
	{regexp.MustCompile(`\s+`), " "},
}

// masked replaces what differs between two runs: numbers, but not numbers of lines of code, and
// graphs.
func masked(line string) string {
	line = strings.TrimSpace(line)
	for _, m := range masks {
		line = m.what.ReplaceAllString(line, m.with)
	}
	return line
}

// missing returns the lines of a block that are not in the text in this order. Unless the block has
// a line of dots, it also returns the lines of the text that are not in the block.
func missing(block, text string) (lines []string) {
	var printed []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !notOutput.MatchString(line) {
			printed = append(printed, line)
		}
	}
	whole := true
	for want := range strings.Lines(block) {
		want = strings.TrimSpace(want)
		if want == "" {
			continue
		}
		if want == "…" || want == "..." {
			whole = false
			continue
		}
		at := 0
		for at < len(printed) && masked(printed[at]) != masked(want) {
			at++
		}
		if at == len(printed) {
			lines = append(lines, "the page says, and the program does not: "+want)
			continue
		}
		if whole {
			for _, line := range printed[:at] {
				lines = append(lines, "the program says, and the page does not: "+line)
			}
		}
		printed = printed[at+1:]
	}
	if whole {
		for _, line := range printed {
			lines = append(lines, "the program says, and the page does not: "+line)
		}
	}
	return lines
}

// notOutput is what go run and go test add to a program's output.
var notOutput = regexp.MustCompile(`^(exit status \d+|go: downloading .*|FAIL.*|ok .*)$`)

func TestMissingLinesAreFound(t *testing.T) {
	const block = "graph  ▁▂  1.5 → 2 MiB\nat main.f, a.go:7\nmeasured   20: +20\n"
	assert.Empty(t, missing(block, "graph ▁ 900 B → 12,300 KiB\n  at main.f, a.go:7\nmeasured 3\nexit status 1\n"))
	assert.Empty(t, missing("a\n…\nc\n", "a\nb\nc\nd\n"))
	for _, text := range []string{
		"at main.f, a.go:7\nmeasured", // a line less
		block + "one more",
		"one more\n" + block,
		strings.Replace(block, "a.go:7", "a.go:8", 1),
		strings.Replace(block, "main.f", "main.g", 1),
		strings.Replace(block, "→", "to", 1),
	} {
		assert.NotEmpty(t, missing(block, text), "%s", text)
	}
	assert.Equal(t, []output{{"go run ./a", "1"}, {"go run ./b -x", "2"}}, outputsIn(
		"```sh\ngo run ./a\n```\n\ntext\n\n```\n1\n```\n\n```\nno command\n```\n\n    go run ./c\n\n# Next\n\n```\nno output\n```\n\n    go run ./b -x\n\n```\n2\n```\n"))
}

// TestOutputsInPages runs what the README and the walk of docs/climbing-graph.md show.
func TestOutputsInPages(t *testing.T) {
	testgate.Seconds(t)
	linux(t)
	same := func(t *testing.T, block, text string) {
		for _, line := range missing(block, text) {
			t.Error(line)
		}
		if t.Failed() {
			t.Logf("the program's output:\n%s", text)
		}
	}
	t.Run("failure", func(t *testing.T) {
		text := shell(t, "go test -count=1 -run TestVisitsDoNotGrow ./examples/sessions -leaky")
		_, text, _ = strings.Cut(text, "sessions_test.go:32: ")
		same(t, blockWith(t, "README.md", "+1.00 object (+24 B)"), text)
	})
	t.Run("ssr", func(t *testing.T) {
		text := shell(t, "go run ./examples/ssr")
		for _, page := range []string{"README.md", "docs/climbing-graph.md"} {
			outputs := outputsIn(read(t, page))
			require.Len(t, outputs, 1)
			require.Equal(t, "go run ./examples/ssr", outputs[0].command)
			same(t, outputs[0].block, text)
		}
	})
	t.Run("process", func(t *testing.T) {
		same(t, blockWith(t, "README.md", "was stopped"), whyNight(t))
	})
	t.Run("leak of ssr", func(t *testing.T) {
		testgate.Minutes(t)
		same(t, blockWith(t, "docs/climbing-graph.md", "FAIL: Test"), leakOfSSR(t))
	})
}

// TestOutputsOfExamples runs each example as its README says, minutes each.
func TestOutputsOfExamples(t *testing.T) {
	testgate.Minutes(t)
	linux(t)
	readmes, err := filepath.Glob("examples/*/README.md")
	require.NoError(t, err)
	ran := 0
	for _, page := range readmes {
		for _, o := range outputsIn(read(t, page)) {
			ran++
			t.Run(filepath.Base(filepath.Dir(page)), func(t *testing.T) {
				t.Log(o.command)
				text := shell(t, o.command)
				for _, line := range missing(o.block, text) {
					t.Errorf("%s: %s", page, line)
				}
				if t.Failed() {
					t.Logf("the program's output:\n%s", text)
				}
			})
		}
	}
	assert.GreaterOrEqual(t, ran, 8)
}

func linux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the pages show what Linux prints")
	}
}

// shell runs a command of a page. Commands that show a leak fail.
func shell(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if _, failed := err.(*exec.ExitError); !failed {
		require.NoError(t, err)
	}
	return string(out)
}

// leakOfSSR runs the test of docs/climbing-graph.md with the page that leaks as its handler.
func leakOfSSR(t *testing.T) string {
	root, err := os.Getwd()
	require.NoError(t, err)
	code := strings.TrimPrefix(blockWith(t, "docs/climbing-graph.md", "package shop_test"), "\n")
	const handler = `http.FileServerFS(os.DirFS("."))`
	require.Contains(t, code, handler)
	code = strings.Replace(code, handler, `http.HandlerFunc(memoryLeak)`, 1)
	code = strings.Replace(code, "package shop_test", "package main", 1)
	code = strings.Replace(code, "\t\"os\"\n", "\t_ \"os\"\n", 1)
	file := filepath.Join(t.TempDir(), "shop_test.go")
	require.NoError(t, os.WriteFile(file, []byte(code), 0o600))
	replace := map[string]string{filepath.Join(root, "examples/ssr/shop_test.go"): file}
	tests, err := filepath.Glob("examples/ssr/*_test.go")
	require.NoError(t, err)
	for _, test := range tests {
		replace[filepath.Join(root, test)] = ""
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	overlayFile := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))
	// Without the flags leakcheck builds the test again for its names, and knows no overlay.
	return shell(t, "go test -count=1 -overlay "+overlayFile+
		" -ldflags='-s=false -w=false' -run TestPageDoesNotGrow ./examples/ssr")
}

// whyNight asks what retains a session of the service of docs/any-process.md.
func whyNight(t *testing.T) string {
	dir := t.TempDir()
	const command = "./leakcheck/cmd/leakcheck"
	for _, pkg := range []string{command, command + "/testdata/night"} {
		out, err := exec.Command("go", "build", "-o", dir+"/", pkg).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	night := exec.CommandContext(t.Context(), filepath.Join(dir, "night"), "10000")
	in, err := night.StdinPipe()
	require.NoError(t, err)
	out, err := night.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, night.Start())
	defer func() {
		_ = night.Process.Kill()
		_ = night.Wait()
	}()
	lines := bufio.NewScanner(out)
	for range 2 { // it says when it has served some visitors; the more, the larger the leak
		for lines.Scan() && !strings.Contains(lines.Text(), "open") {
		}
		_, err := in.Write([]byte("\n"))
		require.NoError(t, err)
	}
	text := shell(t, filepath.Join(dir, "leakcheck")+
		" why -pid "+strconv.Itoa(night.Process.Pid)+" -type main.session -n 1")
	if strings.Contains(text, "as root") { // the process is no descendant of the command
		t.Skip("this needs rights that the test does not have: ", text)
	}
	return text
}
