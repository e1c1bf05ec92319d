package goruntime

import "maps"

// WithField is the executable of a release that has a field elsewhere.
func (x *Exe) WithField(name string, change int) *Exe {
	y := *x
	y.offset = maps.Clone(x.offset)
	y.offset[name] = uint64(int(y.offset[name]) + change)
	return &y
}

// WithSize is the executable of a release in which a struct has another size.
func (x *Exe) WithSize(name string, size uint64) *Exe {
	y := *x
	y.size = maps.Clone(x.size)
	y.size[name] = size
	return &y
}
