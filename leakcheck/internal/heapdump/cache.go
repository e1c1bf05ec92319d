package heapdump

import (
	"io"
	"sync"
)

const (
	blockSize = 4 << 10
	blocks    = 4096
)

// A cache keeps blocks of a file: walks over the heap read some bytes of each object, and
// neighbours on the heap are neighbours in the file.
type cache struct {
	file io.ReaderAt

	mu    sync.Mutex
	block []block // by the number of the block in the file, modulo their number
}

type block struct {
	pos   int64
	bytes []byte
}

func newCache(file io.ReaderAt) *cache { return &cache{file: file, block: make([]block, blocks)} }

// ReadAt reads from the cache what lies in one block.
func (c *cache) ReadAt(b []byte, pos int64) (int, error) {
	off := pos % blockSize
	if off+int64(len(b)) > blockSize {
		return c.file.ReadAt(b, pos)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &c.block[pos/blockSize%blocks]
	if x.bytes == nil || x.pos != pos-off {
		if x.bytes == nil {
			x.bytes = make([]byte, blockSize)
		}
		n, err := c.file.ReadAt(x.bytes[:blockSize], pos-off)
		x.pos, x.bytes = pos-off, x.bytes[:n]
		if err != nil && err != io.EOF {
			x.bytes = nil
			return 0, err
		}
	}
	if off >= int64(len(x.bytes)) {
		return 0, io.EOF
	}
	n := copy(b, x.bytes[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
