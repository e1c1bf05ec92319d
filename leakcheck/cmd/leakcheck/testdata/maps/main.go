// Maps keeps objects in maps of many kinds, through a method value and in goroutines, and dumps its heap: maps one.dump
package main

import (
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

type entry struct {
	name string
	buf  []byte
}

var (
	byName   = map[string]*entry{}
	byInt    = map[int64]*entry{}
	byByte   = map[uint8]*entry{}
	byBool   = map[bool]*entry{}
	nested   = map[int]map[string]entry{}
	large    = map[int64]*entry{}
	inPlace  = map[uint8][100]*entry{}
	handlers = map[string]http.HandlerFunc{}
)

type service struct {
	title string
	page  *page
}

type page struct{ text [77]byte }

func (s *service) serve(http.ResponseWriter, *http.Request) { s.page.text[0]++ }

// A joined string is allocated in package strings, inlined here.
func join(parts ...string) *string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p)
	}
	s := b.String()
	return &s
}

var joined []*string

func main() {
	runtime.MemProfileRate = 1
	for i := range 100 {
		byName["name"+strconv.Itoa(i)] = &entry{name: "string"}
	}
	for i := range 3000 {
		large[int64(i)<<33] = &entry{name: "large"}
	}
	byInt[77777777777] = &entry{name: "int"}
	byByte[7] = &entry{name: "byte"}
	byBool[true] = &entry{name: "bool"}
	nested[42] = map[string]entry{"x": {buf: make([]byte, 300)}}
	var a [100]*entry
	a[99] = &entry{name: "in place"}
	inPlace[3] = a
	s := &service{title: "shop", page: &page{}}
	handlers["/"] = s.serve
	joined = append(joined, join(strings.Repeat("a", 500), strings.Repeat("b", 500)))
	f, err := os.OpenFile(os.Args[1], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(f.Fd())
	f.Close()
	runtime.MemProfile(nil, true)
}
