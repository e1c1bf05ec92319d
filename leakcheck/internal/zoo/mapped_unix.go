//go:build unix

package zoo

import (
	"os"
	"syscall"
)

// A mapping is outside the Go heap: leakcheck/watch sees it. NoGrowth sees
// the table that package syscall keeps of mappings, which is on the heap and
// grows in steps.
var mapped = []Case{{
	Name:       "mmap_not_unmapped",
	Issue:      "https://github.com/liftbridge-io/liftbridge/issues/302",
	Cure:       "Munmap",
	Finds:      []Find{{Bytes, "zoo.mmap"}},
	RetainedBy: "package variable syscall.mapper",
	Leak:       mmapKept, Fixed: mmapUnmapped,
}}

func mmap(env *Env) []byte {
	b, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		env.Error(err)
	}
	return b
}

func mmapKept(env *Env) func() {
	return func() { mmap(env) }
}

func mmapUnmapped(env *Env) func() {
	return func() {
		if err := syscall.Munmap(mmap(env)); err != nil {
			env.Error(err)
		}
	}
}
