package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMerge(t *testing.T) {
	const k = 1 << 13
	ranges := []Range{{30 * k, 40 * k}, {10 * k, 20 * k}, {20 * k, 25 * k}, {12 * k, 13 * k}, {50 * k, 50 * k}, {60 * k, 55 * k}, {35 * k, 45 * k}, {45*k + 512, 46 * k}, {47 * k, 48 * k}}
	assert.Equal(t, uint64(32*k), Total(ranges))
	assert.Equal(t, []Range{{10 * k, 25 * k}, {30 * k, 46 * k}, {47 * k, 48 * k}}, merge(ranges))
}

func TestCopyFindsPieces(t *testing.T) {
	c := Copy{pieces: []piece{{100, []byte("abcd")}, {200, []byte("efgh")}}}
	for _, row := range []struct {
		addr uint64
		n    int
		want string
		ok   bool
	}{{100, 4, "abcd", true}, {202, 2, "gh", true}, {101, 2, "bc", true}, {103, 2, "", false}, {99, 1, "", false}, {104, 0, "", true}, {204, 1, "", false},
		{1 << 63, 1, "", false}, {200, -1, "", false}} {
		b, ok := c.Slice(row.addr, row.n)
		assert.Equal(t, row.ok, ok, row)
		assert.Equal(t, row.want, string(b), row)
	}
	_, ok := new(Copy).Slice(0, 1)
	assert.False(t, ok)
}

// Blocks cross their borders, and read what they can where a block is not mapped as a whole.
func TestBlocks(t *testing.T) {
	const start, end = 3 * blockSize / 2, 3 * blockSize
	calls := 0
	b := newBlocks(func(addr uint64, out []byte) error {
		calls++
		if addr < start || addr+uint64(len(out)) > end {
			return errors.New("not mapped")
		}
		for i := range out {
			out[i] = byte((addr + uint64(i)) % 251)
		}
		return nil
	})
	check := func(addr uint64, n int) {
		got, err := b.View(addr, n, nil)
		require.NoError(t, err)
		for i, x := range got {
			require.Equal(t, byte((addr+uint64(i))%251), x)
		}
	}
	check(start, 10)
	check(2*blockSize-5, 10)
	check(2*blockSize-5, blockSize-100)
	check(start, blockSize+blockSize/2)
	before := calls
	check(2*blockSize+100, 50)
	assert.Equal(t, before, calls, "it was read before")
	for _, addr := range []uint64{start - 1, end - 1, 1<<64 - 2} {
		_, err := b.View(addr, 4, nil)
		assert.Error(t, err)
	}
	_, err := b.View(start, -1, nil)
	assert.ErrorIs(t, err, ErrUnmapped)
}

// aCore is a core file with one page of memory at 0x10000, and notes.
func aCore(machine uint16, notes []byte) []byte {
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	le := binary.LittleEndian
	write := func(v any) { binary.Write(&b, le, v) }
	write([]uint16{4, machine})
	write(uint32(1))
	write([]uint64{0, 64, 0})
	write(uint32(0))
	write([]uint16{64, 56, 2, 0, 0, 0})
	write([]uint32{4, 0}) // PT_NOTE
	write([]uint64{176, 0, 0, uint64(len(notes)), 0, 1})
	write([]uint32{1, 4}) // PT_LOAD
	write([]uint64{uint64(176 + len(notes)), 0x10000, 0, 4096, 4096, 1})
	b.Write(notes)
	b.Write(bytes.Repeat([]byte{7}, 4096))
	return b.Bytes()
}

func TestCore(t *testing.T) {
	open := func(b []byte) (*Core, error) {
		file := filepath.Join(t.TempDir(), "core")
		require.NoError(t, os.WriteFile(file, b, 0o600))
		c, err := OpenCore(file)
		if err == nil {
			t.Cleanup(c.Close)
		}
		return c, err
	}
	c, err := open(aCore(62, nil))
	require.NoError(t, err)
	b, err := c.View(0x10010, 8, nil)
	require.NoError(t, err)
	assert.Equal(t, bytes.Repeat([]byte{7}, 8), b)
	_, err = c.View(0x10ffc, 8, nil)
	assert.ErrorIs(t, err, ErrUnmapped)
	_, err = c.Entry()
	assert.ErrorContains(t, err, "does not say where the executable was")

	whole := aCore(62, nil)
	c, err = open(whole[:len(whole)-4000])
	require.NoError(t, err)
	_, err = c.View(0x10010, 200, nil)
	assert.ErrorContains(t, err, "cut short")
	table := bytes.Clone(whole) // gcore's table of sections is at the end
	binary.LittleEndian.PutUint64(table[40:], uint64(len(table)))
	binary.LittleEndian.PutUint16(table[58:], 64)
	binary.LittleEndian.PutUint16(table[60:], 3)
	_, err = open(table)
	assert.ErrorContains(t, err, "cut short or damaged")
	_, err = open(aCore(8, nil))
	assert.ErrorContains(t, err, "known are amd64 and arm64")
	_, err = open([]byte("text"))
	assert.ErrorIs(t, err, ErrNotCore)
	_, err = OpenCore("nowhere")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// No note makes the reader panic.
func FuzzCoreNotes(f *testing.F) {
	note := func(kind uint32, desc []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, 5)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
		b = binary.LittleEndian.AppendUint32(b, kind)
		return append(append(b, "CORE\x00\x00\x00\x00"...), desc...)
	}
	f.Add(uint16(62), note(noteStatus, make([]byte, 336)))
	f.Add(uint16(183), note(noteStatus, make([]byte, 392)))
	f.Add(uint16(62), note(noteAuxv, append(binary.LittleEndian.AppendUint64(nil, 9), 1, 2, 3, 4, 5, 6, 7, 8)))
	f.Add(uint16(62), note(noteFiles, append(binary.LittleEndian.AppendUint64(nil, 1), make([]byte, 60)...)))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, machine uint16, notes []byte) {
		file := filepath.Join(dir, "core")
		require.NoError(t, os.WriteFile(file, aCore(machine, notes), 0o600))
		if c, err := OpenCore(file); err == nil {
			c.Close()
		}
	})
}
