package goruntime

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

func TestReadUnit(t *testing.T) {
	long := func(n uint64) []byte {
		return binary.LittleEndian.AppendUint64([]byte{0xff, 0xff, 0xff, 0xff}, n)
	}
	r := bytes.NewReader(append(long(3), "abc\x02\x00\x00\x00de"...))
	for _, want := range [][]byte{append(long(3), "abc"...), []byte("\x02\x00\x00\x00de")} {
		unit, err := readUnit(r)
		require.NoError(t, err)
		assert.Equal(t, want, unit)
	}
	_, err := readUnit(r)
	assert.Equal(t, io.EOF, err)
	for text, want := range map[string]string{
		"\x02\x00":                         "unexpected EOF",
		"\xff\xff\xff\xff\x02":             "unexpected EOF",
		"\x05\x00\x00\x00abc":              "a unit of 5 bytes ends after 3",
		string(long(math.MaxUint64)) + "a": "a unit of 18446744073709551615 bytes ends after 1",
	} {
		_, err := readUnit(bytes.NewReader([]byte(text)))
		assert.EqualError(t, err, want, "%q", text)
	}
}

// What is behind the units of package runtime is not read, so that it may be damaged.
func TestLayoutsReadOnlyWhatTheyNeed(t *testing.T) {
	testgate.Seconds(t)
	exe := filepath.Join(t.TempDir(), "exe")
	build := exec.Command("go", "build", "-ldflags=-compressdwarf=false", "-o", exe, "../../cmd/leakcheck/testdata/victims")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	want, err := OpenExe(exe, "")
	require.NoError(t, err)

	file, err := openELF(exe)
	require.NoError(t, err)
	defer file.Close()
	info := file.Section(".debug_info")
	r := info.Open()
	x := &Exe{offset: map[string]uint64{}, size: map[string]uint64{}}
	require.NoError(t, x.units(file, r))
	read, err := r.Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	t.Logf("%d of %d bytes are read", read, info.Size)

	damaged := func(from, to uint64) string {
		b, err := os.ReadFile(exe)
		require.NoError(t, err)
		for i := from; i < to; i++ {
			b[info.Offset+i] = 0xff
		}
		name := filepath.Join(t.TempDir(), "damaged")
		require.NoError(t, os.WriteFile(name, b, 0o700))
		return name
	}
	got, err := OpenExe(damaged(uint64(read), info.Size), "")
	require.NoError(t, err)
	assert.Equal(t, want, got)
	_, err = OpenExe(damaged(0, uint64(read)), "")
	assert.ErrorContains(t, err, "read DWARF")
	_, err = OpenExe(damaged(uint64(read)-40_000, uint64(read)), "")
	assert.Error(t, err)
}
