package symbols

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Locations as Go's compiler writes them.
func TestWithinALocation(t *testing.T) {
	const reg0 = opReg0
	for name, row := range map[string]struct {
		expr      []byte
		size, off int64
		at        uint64
		ok        bool
	}{
		"at the frame's canonical address":  {[]byte{opCallCFA}, 8, 0, 0, true},
		"elsewhere":                         {[]byte{opCallCFA}, 8, 8, 0, false},
		"below it":                          {[]byte{opFbreg, 0x68}, 8, -24, 0, true},
		"a field":                           {[]byte{opFbreg, 0x60}, 24, -24, 8, true},
		"in a register":                     {[]byte{reg0}, 8, 0, 0, false},
		"a slice, its pointer on the stack": {[]byte{opFbreg, 0x68, opPiece, 8, reg0, opPiece, 8}, 24, -24, 0, true},
		"an interface, its second word on the stack": {[]byte{reg0, opPiece, 8, opFbreg, 0x68, opPiece, 8}, 16, -24, 8, true},
		"cut":     {[]byte{opFbreg}, 8, 0, 0, false},
		"unknown": {[]byte{0x03, 1, 2, 3, 4, 5, 6, 7, 8}, 8, 0, 0, false},
	} {
		at, ok := within(row.expr, row.size, row.off)
		assert.Equal(t, row.ok, ok, name)
		assert.Equal(t, row.at, at, name)
	}
}
