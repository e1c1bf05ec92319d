package leaksafe

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

// TestAction runs what the GitHub Action runs: on a test that leaks, on one that does not, and on
// one that fails for another reason. Only .ci/run asks for it: it builds the command.
func TestAction(t *testing.T) {
	if os.Getenv("LEAKSAFE_COPY") == "" {
		t.Skip("runs leak tests and builds the command: set LEAKSAFE_COPY=1")
	}
	for _, row := range []struct {
		name, packages string
		code           int
		leak           string
		says           []string
	}{
		{"leak", "./examples/sessions -leaky", 1, "true", []string{
			"## Leaks\n", "leakcheck: memory leak: +1.00 object", "retained by", "store.open[",
		}},
		{"no leak", "./examples/sessions", 0, "false", []string{"## No leak\n", "passed"}},
		{"no test", "./examples/missing", 1, "false", []string{"## Tests failed\n", "No leak was found"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "of reports")
			shown, outputs := filepath.Join(t.TempDir(), "shown.md"), filepath.Join(t.TempDir(), "outputs")
			cmd := exec.CommandContext(t.Context(), "bash", "examples/ci/leaks.sh")
			cmd.Env = append(os.Environ(), "LEAKSAFE_DIR="+dir, "PACKAGES="+row.packages, "FLAME=true",
				"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY="+shown, "GITHUB_OUTPUT="+outputs)
			out, _ := cmd.CombinedOutput()
			assert.Equal(t, row.code, cmd.ProcessState.ExitCode(), "%s", out)
			text := read(t, shown)
			for _, want := range row.says {
				assert.Contains(t, text, want, "%s", out)
			}
			dumps, err := filepath.Glob(filepath.Join(dir, "*.dump"))
			require.NoError(t, err)
			assert.Empty(t, dumps, "a dump holds whatever was in memory")

			written := outputsOf(read(t, outputs))
			assert.Equal(t, row.leak, written["leak"])
			assert.Equal(t, text, read(t, written["summary"]))
			if row.leak == "false" {
				assert.Empty(t, written["flames"])
				return
			}
			assert.Contains(t, string(out), "::error file=examples/sessions/sessions")
			for _, name := range []string{"pages", "flames"} {
				for file := range strings.SplitSeq(written[name], "\n") {
					assert.FileExists(t, file, name)
				}
			}
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// outputsOf reads the file that GITHUB_OUTPUT names as a runner does: lines of name=value, and
// name<<delimiter, lines, delimiter.
func outputsOf(file string) map[string]string {
	outputs := make(map[string]string)
	for lines := strings.Split(strings.TrimSpace(file), "\n"); len(lines) > 0; {
		line := lines[0]
		lines = lines[1:]
		name, value, _ := strings.Cut(line, "=")
		if before, delimiter, found := strings.Cut(line, "<<"); found {
			text, after, _ := strings.Cut(strings.Join(lines, "\n"), "\n"+delimiter)
			name, value, lines = before, text, strings.Split(strings.TrimPrefix(after, "\n"), "\n")
		}
		outputs[name] = value
		if strings.Join(lines, "") == "" {
			break
		}
	}
	return outputs
}

// TestActionDeclaresItsOutputs compares what the action promises with what its script writes, and
// with what the workflow to copy says and uses.
func TestActionDeclaresItsOutputs(t *testing.T) {
	var action struct {
		Inputs, Outputs map[string]struct{ Description, Value string }
		Runs            struct {
			Steps []struct{ ID string }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "examples/ci/action.yml")), &action))
	require.NotEmpty(t, action.Outputs)
	script, workflow := read(t, "examples/ci/leaks.sh"), read(t, "examples/ci/leaks.yml")
	var steps []string
	for _, step := range action.Runs.Steps {
		steps = append(steps, step.ID)
	}
	value := regexp.MustCompile(`^\$\{\{ steps\.(\w+)\.outputs\.([\w-]+) \}\}$`)
	for name, output := range action.Outputs {
		assert.NotEmpty(t, output.Description, name)
		assert.Contains(t, workflow, name, "the workflow to copy names every output")
		from := value.FindStringSubmatch(output.Value)
		if assert.NotNil(t, from, output.Value) && assert.Contains(t, steps, from[1]) && from[1] == "test" {
			assert.Equal(t, name, from[2])
			assert.Regexp(t, `["' ]`+name+`(=|<<)`, script)
		}
	}
	for _, used := range regexp.MustCompile(`steps\.leaks\.outputs\.([\w-]+)`).FindAllStringSubmatch(workflow, -1) {
		assert.Contains(t, action.Outputs, used[1])
	}
}
