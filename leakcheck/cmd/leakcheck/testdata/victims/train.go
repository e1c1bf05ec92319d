package main

import "sync/atomic"

// A wagon is followed by others. The last one has the luggage.
type wagon struct {
	next *wagon
	load any
}

type luggage struct{ tags map[int]*box[string] }

type box[T any] struct {
	inside T
	next   *box[T]
}

type schedule struct {
	before *schedule
	hours  []byte
}

type railway struct {
	first *wagon
	lines [2]*line
}

type line struct{ stops map[string]*stop }

type stop struct{ name *string }

var (
	train = &railway{lines: [2]*line{{}, {stops: map[string]*stop{}}}} // initialized by the linker, but for the map
	times atomic.Value
)

func fillTrain() {
	train.first = &wagon{load: &luggage{map[int]*box[string]{7: {inside: secret("tag")}}}}
	for range kept {
		train.first = &wagon{next: train.first, load: new(int)}
	}
	s, _ := times.Load().(*schedule)
	times.Store(&schedule{s, make([]byte, 24)})
	name := secret("stop")
	train.lines[1].stops[name] = &stop{&name}
}
