package scratch

// Memory returns how many bytes b holds.
func Memory(b *Buffer) int { return cap(b.data) }
