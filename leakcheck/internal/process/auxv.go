package process

import (
	"encoding/binary"
	"errors"
)

// entryOf finds the entry point in an auxiliary vector.
func entryOf(auxv []byte) (uint64, error) {
	const atEntry = 9
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.LittleEndian.Uint64(auxv) == atEntry {
			return binary.LittleEndian.Uint64(auxv[8:]), nil
		}
	}
	return 0, errors.New("process: its auxiliary vector has no entry point")
}
