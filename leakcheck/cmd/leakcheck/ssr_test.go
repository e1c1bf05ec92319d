package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// dumper is added to examples/ssr: what the documentation tells a service to do.
const dumper = `package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
)

func init() {
	runtime.MemProfileRate = 1
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + l.Addr().String())
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.OpenFile(r.FormValue("file"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		runtime.GC()
		runtime.GC()
		debug.WriteHeapDump(f.Fd())
	}))
}
`

// The server of examples/ssr, before and after load: the line that leaks is the first row.
func TestCompareFindsTheLeakOfTheServer(t *testing.T) {
	testgate.Seconds(t)
	if _, err := exec.LookPath("go"); err != nil || testing.Short() {
		t.Skip("builds a server with the go command")
	}
	dir := t.TempDir()
	exe := filepath.Join(dir, "ssr.exe")
	build := exec.Command("go", "build", "-overlay", overlay(t, dir), "-o", exe, "../../../examples/ssr")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	server := exec.Command(exe)
	server.Env = append(os.Environ(), "LEAKSAFE_SSR_SERVE=1")
	stdin, err := server.StdinPipe()
	require.NoError(t, err)
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	defer server.Wait()
	defer stdin.Close() // ends it
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	dumps := lines.Text()
	require.True(t, lines.Scan())
	pages := lines.Text()

	before, after := filepath.Join(dir, "before.dump"), filepath.Join(dir, "after.dump")
	request(t, 50, pages+"/normal")
	request(t, 50, pages+"/memory-leak")
	request(t, 1, dumps+"/?file="+before)
	request(t, 500, pages+"/normal")
	request(t, 500, pages+"/memory-leak")
	request(t, 1, dumps+"/?file="+after)

	text := leakcheck(t, "compare", before, after, "-exe", exe, "-n", "5")
	assert.Contains(t, text, "of the growth, is retained by the package variable main.history")
	_, rows, _ := strings.Cut(text, "# new")
	first := strings.Split(rows, "\n")[1]
	assert.Contains(t, first, "main.memoryLeak (ssr/pages.go:")
	assert.Contains(t, first, `never freed  p := &page{Title: "`)
	why := leakcheck(t, "why", after, "-site", "main.memoryLeak", "-exe", exe)
	assert.Contains(t, why, "retained by package variable main.history: main.history.pages[")
}

func overlay(t *testing.T, dir string) string {
	file := filepath.Join(dir, "dumper.go")
	require.NoError(t, os.WriteFile(file, []byte(dumper), 0o600))
	target, err := filepath.Abs("../../../examples/ssr/dumper.go")
	require.NoError(t, err)
	b, err := json.Marshal(map[string]map[string]string{"Replace": {target: file}})
	require.NoError(t, err)
	name := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}

func request(t *testing.T, n int, url string) {
	for range n {
		r, err := http.Get(url)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, r.StatusCode)
	}
}
