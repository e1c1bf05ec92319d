package after

import (
	"bytes"
	"io"

	"github.com/leaksafe/leaksafe/pool"
)

var (
	buffers = pool.NewBytes(pool.Options{})
	objects = pool.New(func() *bytes.Buffer { return new(bytes.Buffer) })
	last    []byte
)

// Wrong.

func usedAfter(w io.Writer) {
	b := buffers.Get(8)
	b.Release()
	w.Write(b.Bytes()) // want `a lease is used after Release at line 20: somebody else may have its memory; release later, or use a Clone`
}

func bytesAfter(w io.Writer) {
	b := buffers.Get(8)
	p := b.Bytes()
	b.Release()
	w.Write(p) // want `memory of a lease is used after Release at line 27`
}

func partAfter(w io.Writer) {
	b := buffers.Get(8)
	p := b.Bytes()[:4]
	b.Release()
	w.Write(p) // want `memory of a lease is used after Release`
}

func returned() []byte {
	b := buffers.Get(8)
	defer b.Release()
	return b.Bytes() // want `memory of a lease is returned, and the deferred Release gives it to somebody else; return a Clone, or the lease`
}

func returnedPart() []byte {
	b := buffers.Get(8)
	defer b.Release()
	return b.Bytes()[2:] // want `memory of a lease is returned`
}

func stored() {
	b := buffers.Get(8)
	defer b.Release()
	last = b.Bytes() // want `memory of a lease is stored, and the deferred Release gives it to somebody else; store a Clone`
}

func sent(c chan []byte) {
	b := buffers.Get(8)
	defer b.Release()
	c <- b.Bytes() // want `memory of a lease is sent to a channel`
}

func objectAfter() int {
	l := objects.Get()
	o := l.Value()
	l.Release()
	return o.Len() // want `memory of a lease is used after Release`
}

func onOnePath(ok bool) int {
	b := buffers.Get(8)
	if ok {
		b.Release()
	}
	n := b.Len() // want `a lease is used after Release`
	b.Release()
	return n
}

// Right.

func cloned() []byte {
	b := buffers.Get(8)
	defer b.Release()
	return b.Clone()
}

func copied() []byte {
	b := buffers.Get(8)
	defer b.Release()
	return append([]byte(nil), b.Bytes()...)
}

func asText() string {
	b := buffers.Get(8)
	defer b.Release()
	return string(b.Bytes())
}

func takenAgain(w io.Writer) {
	for range 3 {
		b := buffers.Get(8)
		w.Write(b.Bytes())
		b.Release()
	}
}

func releasedTwice() {
	b := buffers.Get(8)
	b.Release()
	b.Release()
}

func onAnotherPath(ok bool, w io.Writer) {
	b := buffers.Get(8)
	if ok {
		b.Release()
		return
	}
	w.Write(b.Bytes())
	b.Release()
}

func anotherLease(w io.Writer) {
	b := buffers.Get(8)
	b.Release()
	b = buffers.Get(9)
	w.Write(b.Bytes())
	b.Release()
}

func length() int {
	b := buffers.Get(8)
	n := len(b.Bytes())
	b.Release()
	return n
}
