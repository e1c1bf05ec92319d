package process

const blockSize = 64 << 10

// Blocks reads memory in blocks and remembers them: small structures lie close together. It is
// [Memory].
type Blocks struct {
	read  func(addr uint64, b []byte) error
	kept  map[uint64][]byte // by address; a block that cannot be read as a whole is nil
	spare []byte            // memory for blocks, which costs no more time
	done  bool              // nothing more is read
	last  uint64            // address of hot
	hot   []byte
}

func newBlocks(read func(uint64, []byte) error) *Blocks {
	return &Blocks{read: read, kept: map[uint64][]byte{}}
}

// View implements [Memory].
func (c *Blocks) View(addr uint64, n int, scratch []byte) ([]byte, error) {
	if n < 0 || addr+uint64(n) < addr {
		return nil, unmapped(addr, n)
	}
	off := addr % blockSize
	if off+uint64(n) <= blockSize {
		if b := c.block(addr - off); b != nil {
			return b[off : off+uint64(n)], nil
		}
	}
	if c.done {
		return c.known(addr, n, scratch)
	}
	if n > blockSize {
		out := grown(scratch, n)
		return out, c.read(addr, out)
	}
	out := grown(scratch, n)
	for done := 0; done < n; {
		at := addr + uint64(done)
		off := at % blockSize
		part := out[done:min(n, done+int(blockSize-off))]
		if b := c.block(at - off); b != nil {
			copy(part, b[off:])
		} else if err := c.read(at, part); err != nil {
			return nil, err
		}
		done += len(part)
	}
	return out, nil
}

// known returns memory that was read before.
func (c *Blocks) known(addr uint64, n int, scratch []byte) ([]byte, error) {
	out := grown(scratch, n)
	for done := 0; done < n; {
		at := addr + uint64(done)
		b := c.block(at - at%blockSize)
		if b == nil {
			return nil, ErrUnmapped // without words: it is the normal case, and there is another place to look
		}
		done += copy(out[done:], b[at%blockSize:])
	}
	return out, nil
}

// block returns the block at an address, or nil if not all of it is mapped.
func (c *Blocks) block(addr uint64) []byte {
	if c.hot != nil && c.last == addr {
		return c.hot
	}
	b, ok := c.kept[addr]
	if !ok && !c.done {
		if b = c.room(); c.read(addr, b) != nil {
			b = nil
		}
		c.kept[addr] = b
	}
	c.last, c.hot = addr, b
	return b
}

func (c *Blocks) room() []byte {
	if len(c.spare) < blockSize {
		return make([]byte, blockSize)
	}
	b := c.spare[:blockSize:blockSize]
	c.spare = c.spare[blockSize:]
	return b
}

// addresses are where the blocks that were read begin.
func (c *Blocks) addresses() (out []uint64) {
	for addr, b := range c.kept {
		if b != nil {
			out = append(out, addr)
		}
	}
	return out
}
