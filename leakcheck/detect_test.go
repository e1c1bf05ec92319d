package leakcheck_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// verdict is what MustDetect makes of f, seen through another negative control.
func verdict(t *testing.T, f func(testing.TB)) string {
	_, said := leakcheck.Plant(t, func(t testing.TB) { leakcheck.MustDetect(t, f) })
	return said
}

func TestMustDetect(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	for name, row := range map[string]struct {
		f    func(t testing.TB)
		says string
	}{
		"a leak":               {func(t testing.TB) { leakcheck.Check(t); go wait(stop) }, "detected, as it must be"},
		"a leak and a failure": {func(t testing.TB) { leakcheck.Check(t); go wait(stop); t.FailNow() }, "detected, as it must be"},
		"a leak and a skip":    {func(t testing.TB) { leakcheck.Check(t); go wait(stop); t.SkipNow() }, "detected, as it must be"},
		"nothing":              {func(t testing.TB) { leakcheck.Check(t) }, "no leak was reported"},
		"no check":             {func(t testing.TB) { go wait(stop) }, "no leak was reported"},
		"another failure":      {func(t testing.TB) { leakcheck.Check(t); t.Fatal("broken") }, "a failure of another kind is not a detection. f said:\nbroken"},
		"a misused check":      {func(t testing.TB) { leakcheck.Track[int](t, nil) }, "a failure of another kind"},
		"a failure in words":   {func(t testing.TB) { t.Error("leakcheck: goroutine leak: 1 goroutine is still running after x") }, "a failure of another kind"},
		"a panic":              {func(t testing.TB) { panic("oops") }, "panic in f: oops"},
		"a panic in a cleanup": {func(t testing.TB) { t.Cleanup(func() { panic("oops") }) }, "panic in a Cleanup of f: oops"},
		"a skip":               {func(t testing.TB) { t.Skip("not here") }, "f was skipped"},
		"nil":                  {nil, "f is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			said := verdict(t, row.f)
			if !testing.Verbose() && row.says == "detected, as it must be" {
				assert.Equal(t, "nothing", said)
				return
			}
			assert.Contains(t, said, row.says)
		})
	}
}

// What f is given behaves as a test's own t.
func TestRecorder(t *testing.T) {
	t.Setenv("LEAKCHECK_TEST", "outer")
	outer, err := os.Getwd()
	require.NoError(t, err)
	var order []string
	var temp string
	leaks, said := leakcheck.Plant(t, func(r testing.TB) {
		assert.Equal(t, "TestRecorder/MustDetect", r.Name())
		r.Helper()
		temp = r.TempDir()
		assert.NotEqual(t, temp, r.TempDir())
		assert.DirExists(t, temp)
		r.Setenv("LEAKCHECK_TEST", "inner")
		r.Chdir(temp)
		ctx := r.Context()
		assert.NoError(t, ctx.Err())
		r.Cleanup(func() { order = append(order, fmt.Sprint("first registered ", ctx.Err())) })
		r.Cleanup(func() {
			order = append(order, "second registered")
			r.Cleanup(func() { order = append(order, "registered by a cleanup") })
			r.FailNow()
		})
		r.Log("said", 1)
		r.Logf("said %d", 2)
		r.Attr("key", "value")
		io.WriteString(r.Output(), "said 3\n")
		assert.False(t, r.Failed())
		r.Errorf("not a %s", "leak")
		assert.True(t, r.Failed())
		assert.False(t, r.Skipped())
		r.Fatalf("the %s", "end")
		t.Error("Fatalf returned")
	})
	assert.Zero(t, leaks)
	assert.Equal(t, "said 1\nsaid 2\nkey: value\nsaid 3\nnot a leak\nthe end", said)
	assert.Equal(t, []string{"second registered", "registered by a cleanup", "first registered context canceled"}, order)
	assert.NoDirExists(t, temp)
	assert.Equal(t, "outer", os.Getenv("LEAKCHECK_TEST"))
	now, err := os.Getwd()
	require.NoError(t, err)
	assert.Equal(t, outer, now)
	assert.False(t, t.Failed(), "what fails f does not fail the test")
}

// The test around a negative control is judged without it.
func TestOuterCheckDoesNotSeeWhatIsPlanted(t *testing.T) {
	leakcheck.Check(t)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	var f, again *os.File
	t.Cleanup(func() { f.Close(); again.Close() })
	letGo(t)
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Check(t)
		planted = leakcheck.Track(t, newThing())
		go wait(stop)
		f = mustOpen(t)
	})
	leakcheck.MustDetect(t, func(t testing.TB) { // judged although the test around it has not ended
		leakcheck.Files(t)
		again = mustOpen(t)
	})
}

func mustOpen(t testing.TB) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	return f
}
