package main

import (
	"runtime"
	"sync/atomic"
)

// A matrix is held only by a loop that never calls anything.
type matrix struct {
	cells [128]uint64
	next  *matrix
}

// churned are objects that live for a moment.
type churned struct {
	next *churned
	pad  [40]byte
}

var (
	turns atomic.Uint64
	ring  [64]*churned
)

// busy keeps the account cache, and makes garbage and collections all the time.
func busy() {
	cache()
	runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0)))
	go spin(&matrix{next: &matrix{}})
	go func() {
		for i := 0; ; i++ {
			ring[i%len(ring)] = &churned{next: ring[(i+7)%len(ring)]}
			if i%1000 == 0 {
				ring = [64]*churned{}
				runtime.GC()
			}
		}
	}()
}

//go:noinline
func spin(m *matrix) {
	for i := uint64(0); ; i++ {
		m.cells[i%128] += i
		turns.Add(m.cells[(i+1)%128] & 1)
		m.next.cells[i%128]++
	}
}
