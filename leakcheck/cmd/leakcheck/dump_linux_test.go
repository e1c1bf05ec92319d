//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if victims.dir != "" {
		os.RemoveAll(victims.dir)
	}
	os.Exit(code)
}

// victims are built once.
var victims struct {
	sync.Mutex
	dir   string
	built map[string]string
}

// build is a way to build the victims.
type build struct {
	name  string
	flags []string
	env   []string
	pkg   string // empty: the victims
}

var (
	plain    = build{name: "plain"}
	stripped = build{name: "stripped", flags: []string{"-ldflags=-s -w"}}
)

func (b build) exe(t *testing.T) string {
	victims.Lock()
	defer victims.Unlock()
	if exe, ok := victims.built[b.name]; ok {
		return exe
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH: cannot build the victims")
	}
	if victims.dir == "" {
		dir, err := os.MkdirTemp("", "victims-*")
		require.NoError(t, err)
		victims.dir, victims.built = dir, map[string]string{}
	}
	exe := filepath.Join(victims.dir, b.name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, b.flags...), cmp.Or(b.pkg, "./testdata/victims"))...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), b.env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	victims.built[b.name] = exe
	return exe
}

// A victim is a process that the test started.
type victim struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Scanner
	pid    string
	secret string
}

// run starts one of the services and waits until it is ready.
func (b build) run(t *testing.T, service string, change ...func(*exec.Cmd)) *victim {
	v := &victim{t: t, cmd: exec.Command(b.exe(t), service), secret: fmt.Sprintf("%016x", rand.Uint64()|1<<63)}
	v.cmd.Env = append(os.Environ(), "SECRET="+fmt.Sprintf("%x", v.secret), "GORACE=", "GODEBUG=")
	v.cmd.Stderr = os.Stderr
	for _, f := range change {
		f(v.cmd)
	}
	var err error
	v.in, err = v.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := v.cmd.StdoutPipe()
	require.NoError(t, err)
	v.out = bufio.NewScanner(out)
	err = v.cmd.Start()
	if len(change) > 0 && (os.IsPermission(err) || err != nil && strings.Contains(err.Error(), "not permitted")) {
		t.Skip("this needs rights that the test does not have: ", err)
	}
	require.NoError(t, err)
	v.pid = strconv.Itoa(v.cmd.Process.Pid)
	t.Cleanup(func() {
		v.cmd.Process.Kill()
		v.cmd.Wait()
	})
	require.Regexp(t, `^ready`, v.answer())
	return v
}

// answer is the victim's next line. A victim that does not go on fails the test.
func (v *victim) answer() string {
	limit := time.Minute
	if testgate.Long() { // the runtime may take minutes for a dump
		limit = 10 * time.Minute
	}
	done := time.AfterFunc(limit, func() { v.cmd.Process.Kill() })
	defer done.Stop()
	require.True(v.t, v.out.Scan(), "the victim does not answer")
	return v.out.Text()
}

func (v *victim) ask(what string) string {
	_, err := fmt.Fprintln(v.in, what)
	require.NoError(v.t, err)
	return v.answer()
}

// goesOn requires the victim to run, and to be traced by nobody.
func (v *victim) goesOn() {
	v.t.Helper()
	nonce := strconv.Itoa(rand.Int())
	require.Equal(v.t, "pong "+nonce, v.ask("ping "+nonce))
	require.Equal(v.t, "0", statusOf(v.pid, "TracerPid:"))
}

// statusOf is a field of a process's status file.
func statusOf(pid, name string) string {
	b, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return f[1]
		}
	}
	return ""
}

// temp is a file's path in the test's directory.
func temp(t *testing.T, name string) string { return filepath.Join(t.TempDir(), name) }

func read(t *testing.T, file string) *heapdump.Dump {
	f, err := os.Open(file)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	require.NoError(t, err)
	d, err := heapdump.Read(f, info.Size(), nil)
	require.NoError(t, err)
	return d
}

// keepers are what why must say about each service.
var keepers = []keeper{
	{"cache", "-type=main.account", `main\.users\.byName\[`},
	{"workers", "-site=main.workers", `goroutine.*main\.work`},
	{"hooks", "-site=main.hooks", `main\.exits\.atExit\[`},
	{"sessions", "-type=main.session", `main\.sessions\.Load\(`},
	{"timers", "-site=main.timers", `timer`},
}

// A keeper is what is asked about a service, and what the answer must contain.
type keeper struct{ service, question, answer string }

// A dump from outside names the same keepers as the runtime's own, of the same objects.
func TestDumpOfFiveVictims(t *testing.T) {
	for _, k := range keepers {
		t.Run(k.service, func(t *testing.T) {
			if k.service != keepers[0].service {
				testgate.Seconds(t)
			}
			testVictim(t, plain, plain, k)
		})
	}
	t.Run("stripped, with -exe", func(t *testing.T) {
		testgate.Seconds(t)
		k := keepers[0]
		testVictim(t, stripped, plain, k)
	})
}

// The same for every way to build a program, on both releases.
func TestDumpOfEveryBuild(t *testing.T) {
	testgate.Minutes(t)
	ways := []build{
		{name: "pie", flags: []string{"-buildmode=pie"}},
		{name: "cgo", flags: []string{"-tags=withcgo"}, env: []string{"CGO_ENABLED=1"}},
		{name: "cgo-pie", flags: []string{"-tags=withcgo", "-buildmode=pie"}, env: []string{"CGO_ENABLED=1"}},
		{name: "trimpath", flags: []string{"-trimpath"}},
		{name: "race", flags: []string{"-race"}, env: []string{"CGO_ENABLED=1"}},
		{name: "debug", flags: []string{"-gcflags=all=-N -l"}},
		{name: "nogreenteagc", env: []string{"GOEXPERIMENT=nogreenteagc"}},
		plain,
	}
	for _, toolchain := range []string{"local", "go1.27.0"} {
		for _, way := range ways {
			if toolchain == "go1.27.0" && way.name == "nogreenteagc" {
				continue // there is no other collector any more
			}
			way.name += "-" + toolchain
			way.env = append([]string{"GOTOOLCHAIN=" + toolchain}, way.env...)
			bare := way
			bare.name, bare.flags = "stripped-"+way.name, append([]string{"-ldflags=-s -w"}, way.flags...)
			for _, k := range keepers {
				t.Run(way.name+"/"+k.service, func(t *testing.T) { testVictim(t, way, way, k) })
				t.Run(bare.name+"/"+k.service, func(t *testing.T) { testVictim(t, bare, way, k) })
			}
		}
	}
}

func testVictim(t *testing.T, runs, symbols build, k keeper) {
	exe := symbols.exe(t)
	v := runs.run(t, k.service)
	theirs, ours, redacted := temp(t, "theirs"), temp(t, "ours"), temp(t, "redacted")
	require.Equal(t, "dumped", v.ask("dump "+theirs))
	out := built(t, "dump", "-pid", v.pid, "-exe", exe, "-contents", ours)
	assert.Regexp(t, `^\S+: .* objects, .*iB, \d+ goroutines?; process `+v.pid+` was stopped for \d+\.\d ms; file .*iB, not redacted`, out)
	v.goesOn()
	assert.Regexp(t, `iB, redacted\n$`, built(t, "dump", "-pid", v.pid, "-exe", exe, redacted))
	v.goesOn()

	sameObjects(t, read(t, theirs), read(t, ours))
	if strings.HasPrefix(k.question, "-site") {
		assert.Greater(t, read(t, ours).Sample, 600)
	}
	sameGraph(t, read(t, ours), read(t, redacted))
	assert.Regexp(t, k.answer, built(t, "why", ours, "-exe", exe, k.question, "-n", "0"))
	assert.Equal(t, answers(t, theirs, "-exe", exe, k.question), answers(t, ours, "-exe", exe, k.question))
	said := built(t, "why", redacted, "-exe", exe, k.question, "-n", "0")
	assert.Regexp(t, k.answer, said)
	assert.NotContains(t, said, v.secret)
}

var (
	mapKey = regexp.MustCompile(`(\[|Load\()(\\"[^"]*\\"|\d+|…)(\]|\))`)
	// Which of several equals is shown is chance, and so are their numbers.
	detail = regexp.MustCompile(`"(Name|Addr)": ?"?(\d+, |0x[0-9a-f]+)|0x[0-9a-f]+|\d+ days?[^"]*|in \d+[^"]*`)
)

// answers are the paths that why prints as JSON, without what differs from one of many equals to
// another, sorted.
func answers(t *testing.T, args ...string) (out []string) {
	t.Helper()
	var paths []json.RawMessage
	b, err := tool(t, append([]string{"why", "-n", "0", "-json"}, args...)...).Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &paths))
	for _, p := range paths {
		out = append(out, detail.ReplaceAllString(mapKey.ReplaceAllString(string(p), "$1*$3"), "*"))
	}
	slices.Sort(out)
	return out
}

// sameObjects compares a dump by the runtime with one from outside, a moment later.
func sameObjects(t *testing.T, theirs, ours *heapdump.Dump) {
	t.Helper()
	missing, differ := 0, 0
	for i := range int32(theirs.Len()) {
		o := ours.Find(theirs.Addr(i))
		switch {
		case o == heapdump.None || ours.Addr(o) != theirs.Addr(i) || ours.Size(o) != theirs.Size(i):
			missing++
		case !sameEdges(theirs, i, ours, o):
			differ++
		}
	}
	more := ours.Len() - (theirs.Len() - missing)
	t.Logf("objects: %d by the runtime, %d from outside; %d are missing, %d are new, %d refer to others", theirs.Len(), ours.Len(), missing, more, differ)
	// The answer to a command allocates, and the dump itself.
	const moved = 100
	assert.LessOrEqual(t, missing, moved)
	assert.LessOrEqual(t, differ, moved)
	assert.LessOrEqual(t, more, moved)
	assert.Greater(t, theirs.Len(), 5*moved)
	assert.Equal(t, len(theirs.Goroutines), len(ours.Goroutines))
	assert.InDelta(t, len(theirs.Finalizers), len(ours.Finalizers), 1) // of the dump's file
	assert.InDelta(t, theirs.Sample, ours.Sample, moved)
	sameFrames(t, theirs, ours)
}

func sameEdges(a *heapdump.Dump, i int32, b *heapdump.Dump, k int32) bool {
	to, word := a.Edges(i)
	to2, word2 := b.Edges(k)
	if len(to) != len(to2) {
		return false
	}
	for e := range to {
		if word[e] != word2[e] || a.Addr(to[e]) != b.Addr(to2[e]) {
			return false
		}
	}
	return true
}

// sameFrames compares the goroutines that sleep: their frames and the pointers in them.
func sameFrames(t *testing.T, theirs, ours *heapdump.Dump) {
	t.Helper()
	stacks := map[uint64]string{}
	for i := range theirs.Goroutines {
		stacks[theirs.Goroutines[i].ID] = stack(theirs, i)
	}
	same := 0
	for i, g := range ours.Goroutines {
		if theirs.Goroutines[i].ID == g.ID && stacks[g.ID] == stack(ours, i) {
			same++
			continue
		}
		t.Logf("goroutine %d:\n%s\nby the runtime:\n%s", g.ID, stack(ours, i), stacks[g.ID])
	}
	// One runs the commands; the runtime's own come and go.
	assert.GreaterOrEqual(t, same, len(ours.Goroutines)-4)
}

func stack(d *heapdump.Dump, g int) string {
	var b strings.Builder
	for _, f := range d.Goroutines[g].Frames {
		x := &d.Frames[f]
		to, word := d.RootEdges(x.Roots)
		fmt.Fprintf(&b, "%s %#x %d %x %v", x.Func, x.SP, x.Len, x.PC, word)
		for _, o := range to {
			if o != heapdump.None {
				fmt.Fprintf(&b, " %#x", d.Addr(o))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// sameGraph requires redaction to change no object and no reference.
func sameGraph(t *testing.T, full, redacted *heapdump.Dump) {
	t.Helper()
	assert.False(t, full.Redacted())
	assert.True(t, redacted.Redacted())
	differ := 0
	for i := range int32(full.Len()) {
		o := redacted.Find(full.Addr(i))
		if o == heapdump.None || !sameEdges(full, i, redacted, o) {
			differ++
		}
	}
	assert.Less(t, differ, 100)
	assert.InDelta(t, full.NumEdges(), redacted.NumEdges(), 200)
}

// What a dump must not hold: secrets in the heap, on stacks, in variables, map keys and arguments
// of goroutines. The dump with contents holds each, so the search would find them.
func TestRedactedDumpHoldsNoSecrets(t *testing.T) {
	testgate.Seconds(t)
	places := map[string][]string{"cache": {"key", "token", "global", "array"}, "workers": {"argument", "stack"}, "hooks": {"upload"}, "sessions": {"session"},
		"timers": {"order", "parcel"}}
	for service, where := range places {
		t.Run(service, func(t *testing.T) {
			if service != "cache" {
				testgate.NoRace(t)
			}
			v := plain.run(t, service)
			full, redacted := temp(t, "full"), temp(t, "redacted")
			leakcheck(t, "dump", "-pid", v.pid, "-contents", full)
			leakcheck(t, "dump", "-pid", v.pid, redacted)
			a, err := os.ReadFile(full)
			require.NoError(t, err)
			b, err := os.ReadFile(redacted)
			require.NoError(t, err)
			for _, w := range where {
				assert.Contains(t, string(a), w+":"+v.secret, "the test would not find what it looks for")
			}
			assert.Zero(t, bytes.Count(b, []byte(v.secret)))
			for cut := 8; cut <= len(v.secret); cut += 4 { // nor a part of it
				assert.Zero(t, bytes.Count(b, []byte(v.secret[cut-8:cut])), v.secret[cut-8:cut])
			}
			if service == "cache" {
				pin := binary.LittleEndian.AppendUint64(nil, 0x5ec2e7_0123456789)
				assert.GreaterOrEqual(t, bytes.Count(a, pin), 200)
				assert.Zero(t, bytes.Count(b, pin))
			}
			info, err := os.Stat(redacted)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
		})
	}
}

// kill -9 at every stage of a dump: the kernel lets the victim go on.
func TestVictimGoesOnWhenTheToolIsKilled(t *testing.T) {
	testgate.Seconds(t)
	times, service := 10, "cache"
	if testgate.Long() {
		times, service = 200, "busy"
	}
	v := plain.run(t, service)
	out := temp(t, "dump")
	start := time.Now()
	require.NoError(t, tool(t, "dump", "-pid", v.pid, out).Run())
	whole := time.Since(start)
	frozen, i := 0, 0
	for ; i < times || frozen == 0 && i < 50*times; i++ { // on a busy machine the stop may be missed
		cmd := tool(t, "dump", "-pid", v.pid, "-force", out)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		if i%2 == 0 {
			frozen += untilStopped(v.pid, ended)
		} else {
			select {
			case <-time.After(rand.N(whole)):
			case err := <-ended:
				ended <- err
			}
		}
		cmd.Process.Kill()
		<-ended
		v.goesOn()
	}
	t.Logf("killed %d times, %d of them while the victim was stopped", i, frozen)
	assert.Positive(t, frozen)
	require.NoError(t, tool(t, "dump", "-pid", v.pid, "-force", out).Run())
	v.goesOn()
}

// A signal ends the command at every stage: no part of a dump is left, and the victim goes on.
func TestNothingIsLeftAfterASignal(t *testing.T) {
	testgate.Seconds(t)
	v := plain.run(t, "cache")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	temporaries := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		return files
	}
	met := 0
	for i := 0; i < 8 || met == 0 && i < 400; i++ { // on a busy machine the part may be missed
		args := []string{"dump", "-pid", v.pid, filepath.Join(dir, "x.dump")}
		if i%4 == 3 {
			args = []string{"summary", "-pid", v.pid}
		}
		cmd := tool(t, args...)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for end := time.Now().Add(time.Minute); len(ended) == 0 && len(temporaries()) == 0 && time.Now().Before(end); {
		}
		if i%2 == 0 {
			untilStopped(v.pid, ended)
		}
		if files := temporaries(); len(files) == 1 && strings.Contains(files[0], ".part-") {
			met++
		}
		s := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}[i%3]
		cmd.Process.Signal(s)
		<-ended
		if code := cmd.ProcessState.ExitCode(); code != 0 { // it was quicker
			for _, f := range temporaries() {
				assert.Equal(t, "x.dump", filepath.Base(f), "what is left after %v", s)
			}
		}
		os.Remove(filepath.Join(dir, "x.dump"))
		assert.Empty(t, temporaries())
		v.goesOn()
	}
	assert.Positive(t, met, "the signal came while there was a part of a dump")
}

// What a command that was killed has left goes with the next dump of that name; what another one is
// writing stays.
func TestPartsOfKilledCommandsAreRemoved(t *testing.T) {
	v := plain.run(t, "cache")
	dir := t.TempDir()
	old, busy, fresh, other := filepath.Join(dir, ".x.dump.part-1"), filepath.Join(dir, ".x.dump.part-2"), filepath.Join(dir, ".x.dump.part-3"), filepath.Join(dir, ".y.dump.part-4")
	hourAgo := time.Now().Add(-time.Hour)
	for _, f := range []string{old, busy, fresh, other} {
		require.NoError(t, os.WriteFile(f, nil, 0o600))
		if f != fresh {
			require.NoError(t, os.Chtimes(f, hourAgo, hourAgo))
		}
	}
	writing, err := os.Open(busy)
	require.NoError(t, err)
	defer writing.Close()
	require.True(t, claim(writing))
	leakcheck(t, "dump", "-pid", v.pid, filepath.Join(dir, "x.dump"))
	assert.NoFileExists(t, old)
	for _, f := range []string{busy, fresh, other} {
		assert.FileExists(t, f)
	}
}

// A wrong call says so before a process is stopped for it.
func TestArgumentsAreCheckedBeforeTheProcessIsStopped(t *testing.T) {
	v := plain.run(t, "cache")
	old := temp(t, "old.dump")
	require.NoError(t, os.WriteFile(old, []byte("x"), 0o600))
	for _, args := range [][]string{
		{"why", "-pid", v.pid},
		{"why", "-pid", v.pid, "-type", "T", old},
		{"why", "-pid", v.pid, "-type", "T", "-exe", "/no/such/exe"},
		{"why", "-pid", v.pid, "-addr", "zz"},
		{"summary", "-pid", v.pid, old},
		{"summary", "-pid", v.pid, "-html", "/no/such/page"},
		{"compare", "-pid", v.pid},
		{"compare", old, "-pid", v.pid},
		{"compare", old, old, "-pid", v.pid},
		{"flame", "-pid", v.pid, old, old, old},
		{"flame", "-pid", v.pid, "/no/such/out.pb.gz"},
		{"flame", "-diff", old, "-pid", v.pid, filepath.Join(t.TempDir(), "out.pb.gz")},
		{"dump", "-pid", v.pid},
		{"dump", "-pid", v.pid, old},
		{"dump", "-pid", v.pid, "/no/such/out"},
		{"dump", "-pid", v.pid, "-core", "core", "out"},
	} {
		var errOut bytes.Buffer
		err := run(args, io.Discard, &errOut)
		assert.Error(t, err, args)
		assert.NotContains(t, errOut.String(), "was stopped", args)
	}
	b, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Equal(t, "x", string(b), "a file is not replaced")
	assert.Contains(t, fails(t, "dump", "-pid", v.pid, old), "old.dump exists: name another file, or replace it with -force")
	leakcheck(t, "dump", "-pid", v.pid, "-force", old)
	v.goesOn()
}

// A redacted dump without -exe says once what is missing.
func TestHintToGiveTheExecutable(t *testing.T) {
	v := plain.run(t, "cache")
	file := temp(t, "redacted")
	leakcheck(t, "dump", "-pid", v.pid, file)
	const hint = "give the executable that wrote the dump as -exe"
	for _, args := range [][]string{{"summary", file}, {"compare", file, file}, {"why", file, "-site", "."}} {
		var out bytes.Buffer
		if run(args, &out, io.Discard) == nil {
			assert.Equal(t, 1, strings.Count(out.String(), hint), args)
		}
		assert.NotContains(t, leakcheck(t, "summary", file, "-exe", plain.exe(t)), hint)
	}
}

// tool is the command as a process of its own, for tests that kill it.
func tool(t *testing.T, args ...string) *exec.Cmd {
	return exec.Command(build{name: "leakcheck", pkg: "."}.exe(t), args...)
}

// built runs the command as a process of its own: with the race detector in it, it would take most
// of the time of all tests.
func built(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tool(t, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("leakcheck %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// untilStopped waits until the process is stopped by a tracer, and returns 1 if it saw that.
func untilStopped(pid string, ended chan error) int {
	for {
		select {
		case err := <-ended:
			ended <- err
			return 0
		default:
		}
		if statusOf(pid, "State:") == "t" {
			return 1
		}
	}
}

// A process that the user had stopped stays stopped, through a dump and through the tool's death.
func TestStoppedVictimStaysStopped(t *testing.T) {
	testgate.Seconds(t)
	v := plain.run(t, "cache")
	pid := v.cmd.Process.Pid
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	await(t, func() bool { return statusOf(v.pid, "State:") == "T" })
	out := temp(t, "dump")
	leakcheck(t, "dump", "-pid", v.pid, out)
	await(t, func() bool { return statusOf(v.pid, "State:") == "T" })
	for range 5 {
		cmd := tool(t, "dump", "-pid", v.pid, "-force", out)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		untilStopped(v.pid, ended)
		cmd.Process.Kill()
		<-ended
		await(t, func() bool { return statusOf(v.pid, "State:") == "T" && statusOf(v.pid, "TracerPid:") == "0" })
	}
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	v.goesOn()
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	assert.Eventually(t, ok, 30*time.Second, time.Millisecond)
}

// A collection may be under way in any of its phases, and goroutines may be anywhere.
func TestDumpOfABusyVictim(t *testing.T) {
	testgate.Seconds(t)
	times := 3
	if testgate.Long() {
		times = 200
	}
	v := plain.run(t, "busy")
	guessed := false
	for range times {
		out := temp(t, "dump")
		leakcheck(t, "dump", "-pid", v.pid, "-contents", out)
		v.goesOn()
		c := &command{exe: plain.exe(t), out: io.Discard, errOut: io.Discard}
		d, err := c.open(out)
		require.NoError(t, err)
		accounts, err := d.ObjectsOfType("main.account")
		require.NoError(t, err)
		assert.Len(t, accounts, 200)
		for i := range d.Goroutines {
			for _, f := range d.Goroutines[i].Frames {
				guessed = guessed || d.Frames[f].Guessed && d.Frames[f].Func == "main.spin"
			}
		}
		d.Close()
	}
	assert.True(t, guessed, "the goroutine that runs has a frame")
}

func TestWhyOfAProcess(t *testing.T) {
	v := plain.run(t, "cache")
	assert.Regexp(t, `main\.users\.byName\["key:`+v.secret+`\d+"\]`, built(t, "why", "-pid", v.pid, "-type", "main.account", "-n", "1"))
	assert.Contains(t, built(t, "summary", "-pid", v.pid, "-n", "3"), "main.account")
	profile := temp(t, "p.pb.gz")
	assert.Contains(t, built(t, "flame", "-pid", v.pid, profile), profile)
	before := temp(t, "before")
	built(t, "dump", "-pid", v.pid, before)
	out := built(t, "compare", before, "-pid", v.pid)
	assert.NotContains(t, out, "more than before", "both have the names of the executable that runs")
	assert.NotContains(t, out, "main.account")
	v.goesOn()

	other, err := os.Create(temp(t, "other"))
	require.NoError(t, err)
	defer other.Close()
	debug.WriteHeapDump(other.Fd()) // of this test
	assert.Contains(t, fails(t, "compare", other.Name(), "-pid", v.pid), "process "+v.pid+" runs another build")
}

// Arguments of go statements and of blocked calls have the types that their functions declare, also
// where they came in registers and were saved to the frame.
func TestArgumentsOfGoroutinesHaveTypes(t *testing.T) {
	testgate.Seconds(t)
	for _, way := range []build{plain, {name: "debug", flags: []string{"-gcflags=all=-N -l"}}} {
		t.Run(way.name, func(t *testing.T) {
			v := way.run(t, "bills")
			out := built(t, "why", "-pid", v.pid, "-type", "main.bill", "-n", "0")
			assert.Regexp(t, `^process \d+ was stopped for .*\n600 objects, on `, out)
			assert.Regexp(t, `retained by [^,]*, in main\.audit \(victims/bills\.go:30\) \((argument|variable)( o)? of [^)]*\),\s+created\s+by\s+main\.bills \(victims/bills\.go:19\)`, out)
			assert.Regexp(t, `variable o of (its frame|main\.bills\.func1, which called it)\),\s+created\s+by\s+main\.bills \(victims/bills\.go:21\)`, out)
			assert.Regexp(t, `retained by [^,]*, in main\.review \(victims/bills\.go:36\)`, out)
			out = built(t, "summary", "-pid", v.pid)
			assert.Contains(t, out, "retained by goroutines created by main.bills (victims/bills.go:19), in ")
			assert.Contains(t, out, "→ in main.audit (victims/bills.go:30), blocked in chan receive\n")
			assert.Regexp(t, `(argument o of its go statement|variable o of main\.audit) → main\.bill\n`, out)
			assert.Regexp(t, `o\.lines of (its go statement|main\.approve) → \[\]int\n`, out)
			assert.NotContains(t, out, "is retained by goroutines created by runtime.")
			assert.NotRegexp(t, `→ runtime\.g\n`, out)
		})
	}
}

// A chain of single owners is one row, so that what fills the memory is seen.
func TestChainOfOwnersIsOneRow(t *testing.T) {
	testgate.Seconds(t)
	v := plain.run(t, "guests")
	out := built(t, "summary", "-pid", v.pid, "-n", "4")
	_, rows, _ := strings.Cut(out, "shallow  retained\n")
	assert.Regexp(t, `(?m)^ +1 .* main\.desk  \(below main\.front → main\.router\)$`, rows)
	assert.NotRegexp(t, `(?m) main\.(front|router)$`, rows)
	assert.Regexp(t, `(?m)^ +(2,000|1,99\d) .* main\.guest$`, rows)
	assert.Regexp(t, `(?m) \[\]byte$`, rows)
	assert.Contains(t, built(t, "summary", "-pid", v.pid, "-json"), `"Name": "main.front"`)
}

// What a variable points to from the start is named by the variable, and what is behind the middle
// of a list is as well known as what is before it. In a program with C the linker keeps symbols
// that the compiler made.
func TestNamesBehindAVariable(t *testing.T) {
	testgate.Seconds(t)
	for _, way := range []build{plain, {name: "cgo", flags: []string{"-tags=withcgo"}, env: []string{"CGO_ENABLED=1"}}} {
		t.Run(way.name, func(t *testing.T) {
			if _, err := exec.LookPath("gcc"); err != nil && way.name == "cgo" {
				t.Skip("gcc is not on PATH")
			}
			namesBehindAVariable(t, way)
		})
	}
}

func namesBehindAVariable(t *testing.T, way build) {
	v, exe := way.run(t, "train"), way.exe(t)
	full, redacted := temp(t, "full"), temp(t, "redacted")
	built(t, "dump", "-pid", v.pid, "-contents", full)
	built(t, "dump", "-pid", v.pid, redacted)
	for _, q := range []struct{ typ, full, redacted string }{
		{"main.luggage", `main\.train\.first\.next….load\n[^$]*→ the object: main\.luggage`, ``},
		{"main.box[string]", `main\.train\.first\.next….load\.tags\[7\]\n`, `….load\.tags\[…\]\n`},
		{"main.stop", `main\.train\.lines\[1\]\.stops\["stop:` + v.secret + `"\]\n`, `main\.train\.lines\[1\]\.stops\[…\]\n`},
		{"main.schedule", `main\.times\.Load\(\)\n`, ``},
	} {
		assert.Regexp(t, q.full, built(t, "why", full, "-exe", exe, "-type", q.typ))
		assert.Regexp(t, cmp.Or(q.redacted, q.full), built(t, "why", redacted, "-exe", exe, "-type", q.typ))
	}
	assert.Contains(t, fails(t, "why", full, "-exe", exe, "-type", "main.box"), "is it main.box[string]?")
	built(t, "why", full, "-exe", exe, "-type", "[]uint8")
}

func TestVariableOfMain(t *testing.T) {
	testgate.Seconds(t)
	v := plain.run(t, "shelf")
	assert.Regexp(t, `retained by the main goroutine, [a-z ]+, in main\.main \(victims/main\.go:\d+\) \(variable books of its frame\)`,
		built(t, "why", "-pid", v.pid, "-type", "main.book", "-n", "1"))
	out := built(t, "summary", "-pid", v.pid, "-n", "5")
	assert.Regexp(t, `% of the heap, is retained by the main goroutine, in \d+ objects\n  → in main\.main \(victims/main\.go:\d+\), [a-z ]+\n  → variable books of main\.main → map\[string\]\*main\.book\n`, out)
	assert.NotContains(t, out, "newproc")
}

// What AddCleanup holds is in no dump of the runtime.
func TestDumpKnowsCleanups(t *testing.T) {
	v := plain.run(t, "timers")
	assert.Regexp(t, `AddCleanup`, built(t, "why", "-pid", v.pid, "-site", "main.timers", "-n", "0"))
}

func TestDumpOfAnotherNamespace(t *testing.T) {
	testgate.Seconds(t)
	exe := plain.exe(t)
	root := t.TempDir()
	b, err := os.ReadFile(exe)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "service"), b, 0o755))
	v := plain.run(t, "busy", func(c *exec.Cmd) {
		c.Path, c.Args[0] = "/service", "/service"
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Chroot: root}
	})
	require.NoError(t, os.Remove(filepath.Join(root, "service"))) // as after a deployment
	assert.Regexp(t, `main\.users\.byName\[`, built(t, "why", "-pid", v.pid, "-type", "main.account", "-n", "1"))
	v.goesOn()
}

func TestRefusals(t *testing.T) {
	v := stripped.run(t, "cache")
	out := temp(t, "dump")
	assert.Regexp(t, `it is stripped \(linked with -s or -w\): build the same source .* and pass the result as -exe`, fails(t, "dump", "-pid", v.pid, out))
	assert.Contains(t, fails(t, "dump", "-pid", v.pid, "-exe", os.Args[0], out), "not the same build")
	assert.Contains(t, fails(t, "dump", "-pid", v.pid, "-exe", "/etc/passwd", out), "no ELF executable")
	assert.Contains(t, fails(t, "dump", "-pid", strconv.Itoa(os.Getpid()), out), "this command itself")
	assert.Contains(t, fails(t, "dump", "-pid", "4194304", out), "there is no process 4194304")
	assert.Contains(t, fails(t, "dump", "-pid", v.pid, "-core", "core", out), "")
	assert.Contains(t, fails(t, "dump", out), "")
	assert.Contains(t, fails(t, "dump", "-pid", v.pid, filepath.Join(out, "no", "such")), "cannot write a dump")
	assert.Contains(t, fails(t, "dump", "-pid", v.pid, "/dev/null"), "no regular file")
	assert.Contains(t, fails(t, "dump", "-core", "main.go", out), "not a core file")

	sleep := exec.Command("sleep", "60")
	require.NoError(t, sleep.Start())
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
	assert.Contains(t, fails(t, "dump", "-pid", strconv.Itoa(sleep.Process.Pid), out), "not a Go program")

	files, err := filepath.Glob(filepath.Join(filepath.Dir(out), "*"))
	require.NoError(t, err)
	assert.Empty(t, files, "a refused dump leaves nothing")
	v.goesOn()
}
