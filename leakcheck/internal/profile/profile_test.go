package profile_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
)

func example() *profile.Profile {
	return &profile.Profile{
		Types:   []profile.ValueType{{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"}},
		Default: "inuse_space",
		Frames:  []profile.Frame{{Func: "main.cache (variable)"}, {Func: "map[string]*main.entry → (*main.entry)[]", File: "shop/cache.go", Line: 12}},
		Samples: []profile.Sample{
			{Stack: []int32{1, 0}, Values: []int64{3, 1 << 40}, Labels: []profile.Label{{Key: "root", Value: "variable"}}},
			{Stack: []int32{0}, Values: []int64{-1, -300}},
		},
		Time:    1,
		Comment: "written by a test",
	}
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, example().Write(&b))
	got, err := profile.Read(&b)
	require.NoError(t, err)
	want := example()
	want.Frames = got.Frames // in the order of the samples
	assert.ElementsMatch(t, example().Frames, got.Frames)
	for i, s := range got.Samples {
		assert.Equal(t, names(example(), example().Samples[i]), names(got, s))
		want.Samples[i].Stack = s.Stack
	}
	assert.Equal(t, want, got)
}

func names(p *profile.Profile, s profile.Sample) (out []string) {
	for _, f := range s.Stack {
		out = append(out, p.Frames[f].Func)
	}
	return out
}

// The runtime's own profiles have inlined calls, packed numbers and mappings.
func TestReadOfTheRuntimesProfiles(t *testing.T) {
	for _, name := range []string{"goroutine", "allocs"} {
		var b bytes.Buffer
		require.NoError(t, pprof.Lookup(name).WriteTo(&b, 0))
		p, err := profile.Read(&b)
		require.NoError(t, err)
		require.NotEmpty(t, p.Types)
		if name != "goroutine" {
			continue
		}
		found := false
		for _, s := range p.Samples {
			for _, n := range names(p, s) {
				found = found || strings.HasSuffix(n, ".TestReadOfTheRuntimesProfiles")
			}
		}
		assert.True(t, found, "this test's own function is on a stack")
	}
}

// pprof is the reader that counts.
func TestPprofReadsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.pb.gz")
	f, err := os.Create(file)
	require.NoError(t, err)
	require.NoError(t, example().Write(f))
	require.NoError(t, f.Close())
	cmd := exec.Command("go", "tool", "pprof", "-raw", file)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	text := string(out)
	assert.Contains(t, text, "inuse_objects/count inuse_space/bytes[dflt]")
	assert.Contains(t, text, "map[string]*main.entry → (*main.entry)[] shop/cache.go:12", "no bracket is cut")
	assert.Contains(t, text, "1099511627776")
	assert.Contains(t, text, "root:[variable]")
}

func TestReadRefuses(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, example().Write(&b))
	whole := b.Bytes()
	for name, input := range map[string][]byte{
		"an empty file":          {},
		"text":                   []byte("heap profile: 1: 2 [3: 4] @ heap/1048576\n"),
		"half a file":            whole[:len(whole)/2],
		"a field that runs over": {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1},
		"an endless number":      bytes.Repeat([]byte{0xff}, 100),
	} {
		_, err := profile.Read(bytes.NewReader(input))
		assert.ErrorContains(t, err, "profile: ", name)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, example().Write(&b))
	f.Add(b.Bytes())
	f.Add([]byte{0x0a, 0x02, 0x08, 0x01, 0x32, 0x00})
	f.Fuzz(func(t *testing.T, input []byte) {
		p, err := profile.Read(bytes.NewReader(input))
		if err != nil {
			return
		}
		for _, s := range p.Samples {
			if len(s.Values) != len(p.Types) {
				t.Fatal("a sample with too few values")
			}
			for _, i := range s.Stack {
				_ = p.Frames[i]
			}
		}
	})
}
