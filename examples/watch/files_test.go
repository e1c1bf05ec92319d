package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// readYAML reads a file; at walks to a value in it.
func readYAML(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, yaml.Unmarshal(text, &v))
	return v
}

func at(t *testing.T, v any, path string) any {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		if i, err := strconv.Atoi(key); err == nil {
			list, ok := v.([]any)
			require.True(t, ok && i < len(list), "%s in %s", key, path)
			v = list[i]
			continue
		}
		fields, ok := v.(map[string]any)
		require.True(t, ok, "%s in %s", key, path)
		require.Contains(t, fields, key, path)
		v = fields[key]
	}
	return v
}

func TestDeployment(t *testing.T) {
	d := readYAML(t, "deployment.yaml")
	assert.Equal(t, "Deployment", d["kind"])
	assert.Equal(t, at(t, d, "spec.selector.matchLabels"),
		at(t, d, "spec.template.metadata.labels"))
	pod := at(t, d, "spec.template.spec")
	c := at(t, pod, "containers.0")

	limit := at(t, c, "env.0")
	assert.Equal(t, "GOMEMLIMIT", at(t, limit, "name"))
	assert.Equal(t, "limits.memory", at(t, limit, "valueFrom.resourceFieldRef.resource"))
	assert.Equal(t, at(t, c, "name"), at(t, limit, "valueFrom.resourceFieldRef.containerName"))
	assert.Equal(t, at(t, c, "resources.limits.memory"), at(t, c, "resources.requests.memory"),
		"or the node may be out of memory first")

	assert.Equal(t, at(t, c, "ports.0.name"), at(t, c, "readinessProbe.httpGet.port"))
	assert.Equal(t, "/dev/termination-log", at(t, c, "terminationMessagePath"))
	assert.Contains(t, []any{"File", "FallbackToLogsOnError"}, at(t, c, "terminationMessagePolicy"))
	assert.Greater(t, at(t, pod, "terminationGracePeriodSeconds").(int),
		at(t, c, "lifecycle.preStop.sleep.seconds").(int)+10)
	assert.Equal(t, at(t, pod, "volumes.0.name"), at(t, c, "volumeMounts.0.name"))

	probe := at(t, c, "readinessProbe.httpGet.path").(string)
	s, err := newService(t.TempDir())
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.close()) }()
	ask := func() int {
		rec := httptest.NewRecorder()
		s.server.Handler.ServeHTTP(rec, httptest.NewRequest("GET", probe, nil))
		return rec.Code
	}
	assert.Equal(t, 200, ask())
	s.draining.Store(true)
	assert.Equal(t, 503, ask())
}

func TestUnit(t *testing.T) {
	text, err := os.ReadFile("leaks.service")
	require.NoError(t, err)
	unit := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch key, value, assigned := strings.Cut(line, "="); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			require.True(t, strings.HasSuffix(line, "]"), line)
			section = strings.Trim(line, "[]")
		default:
			require.True(t, assigned && section != "", line)
			unit[section+"."+key] = append(unit[section+"."+key], value)
		}
	}
	assert.Equal(t, []string{strconv.Itoa(watch.ExitPressure)},
		unit["Service.RestartForceExitStatus"])
	assert.Equal(t, []string{"0"}, unit["Unit.StartLimitIntervalSec"],
		"or systemd gives up after five restarts")
	assert.Contains(t, unit["Service.Environment"], "GOMEMLIMIT=360MiB")
	assert.Equal(t, []string{"400M"}, unit["Service.MemoryMax"])

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed here: systemd itself did not read the unit")
		return
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "leaks.service")
	runnable := strings.Replace(string(text), "/usr/local/bin/app", "/bin/true", 1)
	require.NoError(t, os.WriteFile(file, []byte(runnable), 0o600))
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	assert.NoError(t, err, "%s", out)
	assert.NotContains(t, string(out), "leaks.service:", "what systemd does not know")
}

func TestCompose(t *testing.T) {
	c := readYAML(t, "compose/compose.yaml")
	services := at(t, c, "services").(map[string]any)
	for name, s := range services {
		for _, port := range at(t, s, "ports").([]any) {
			assert.True(t, strings.HasPrefix(port.(string), "127.0.0.1:"),
				"%s is open to the network at %s", name, port)
		}
		for _, v := range at(t, s, "volumes").([]any) {
			if file, _, _ := strings.Cut(v.(string), ":"); strings.HasPrefix(file, ".") {
				assert.FileExists(t, filepath.Join("compose", file))
			} else {
				assert.Contains(t, at(t, c, "volumes"), file)
			}
		}
	}
	context := filepath.Join("compose", at(t, services, "app.build.context").(string))
	// Where this folder was copied, the context is the copier's to set.
	if _, err := os.Stat("../../leakcheck"); err == nil {
		assert.FileExists(t, filepath.Join(context, "examples/watch/main.go"))
		assert.DirExists(t, filepath.Join(context, "leakcheck/watch"))
	}
	for _, file := range []string{"compose/prometheus.yml", "compose/parca.yml"} {
		target := at(t, readYAML(t, file), "scrape_configs.0.static_configs.0.targets.0")
		assert.Equal(t, "app:9100", target)
	}
	parca, err := os.ReadFile("compose/parca.yml")
	require.NoError(t, err)
	assert.NotContains(t, string(parca), "scrape_timeout:",
		"Parca refuses one that is not above the interval, and has a default that is")
	assert.Equal(t, "/debug/leaks/retained", at(t, readYAML(t, "compose/parca.yml"),
		"scrape_configs.0.profiling_config.pprof_config.retained.path"))

	// The rules ask for metrics that the adapter has.
	adapter, err := os.ReadFile("prometheus/main.go")
	require.NoError(t, err)
	for i, metric := range []string{"finding", "pressure_ratio", "retained_bytes"} {
		rule := at(t, readYAML(t, "compose/rules.yml"), "groups.0.rules."+strconv.Itoa(i)+".expr")
		assert.Contains(t, rule, "leaksafe_"+metric)
		assert.Contains(t, string(adapter), metric)
	}

	docker, err := exec.LookPath("docker")
	if err != nil || exec.Command(docker, "compose", "version").Run() != nil {
		t.Log("docker compose is not installed here: it did not read the file itself")
		return
	}
	compose := exec.Command(docker, "compose", "-f", "compose/compose.yaml", "config", "-q")
	out, err := compose.CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
