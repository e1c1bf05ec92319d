//go:build linux && (amd64 || arm64)

package goruntime_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
)

// A release in which a field means something else must be refused, not trusted.
func TestOtherReleasesAreRefused(t *testing.T) {
	m := recorded(t)
	require.NoError(t, dump(m.exe, m, io.Discard, true))
	for _, row := range []struct {
		what string
		exe  *goruntime.Exe
	}{
		{"objects in use are noted elsewhere", m.exe.WithField("runtime.mspan.allocBits", 16)},
		{"spans begin elsewhere", m.exe.WithField("runtime.mspan.startAddr", -8)},
		{"spans have another number of pages", m.exe.WithField("runtime.mspan.npages", 8)},
		{"objects have another size", m.exe.WithField("runtime.mspan.elemsize", -8)},
		{"span classes are elsewhere", m.exe.WithField("runtime.mspan.spanclass", 2)},
		{"pointer bits are elsewhere in a span", m.exe.WithSize("runtime.spanInlineMarkBits", 0)},
		{"pointer bits are a word further", m.exe.WithSize("runtime.spanInlineMarkBits", 136)},
		{"the pointer masks of types are elsewhere", m.exe.WithField("internal/abi.Type.GCData", -8)},
		{"types have their size elsewhere", m.exe.WithField("internal/abi.Type.Size_", 8)},
		{"types have their names elsewhere", m.exe.WithField("internal/abi.Type.Str", 4)},
		{"goroutines have their machine elsewhere", m.exe.WithField("runtime.g.m", 16)},
		{"goroutines are larger", m.exe.WithSize("runtime.g", 1000)},
		{"processors have their number elsewhere", m.exe.WithField("runtime.p.id", 8)},
		{"variables are marked elsewhere", m.exe.WithField("runtime.moduledata.gcbssmask", -16)},
		{"modules begin elsewhere", m.exe.WithField("runtime.moduledata.text", -8)},
		{"names of functions are elsewhere", m.exe.WithField("runtime._func.nameOff", 4)},
		{"frames have their size elsewhere", m.exe.WithField("runtime._func.pcsp", 4)},
		{"where a goroutine sleeps is elsewhere", m.exe.WithField("runtime.gobuf.pc", 8)},
		{"samples are elsewhere", m.exe.WithField("runtime.specialprofile.b", -8)},
		{"finalizers are elsewhere", m.exe.WithField("runtime.specialfinalizer.fn", 8)},
		{"cleanups are elsewhere", m.exe.WithField("runtime.cleanupFn.fn", 8)},
		{"records have their kind elsewhere", m.exe.WithField("runtime.special.kind", -8)},
		{"the list of spans is elsewhere", m.exe.WithField("runtime.mheap.allspans", 8)},
	} {
		t.Run(row.what, func(t *testing.T) {
			err := dump(row.exe, m, io.Discard, true)
			assert.Error(t, err)
			t.Log(err)
		})
	}
}
