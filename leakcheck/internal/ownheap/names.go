package ownheap

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// startDir is the package's directory when this is a test: go test starts it there, and a test may leave it later.
var startDir, _ = os.Getwd()

// namesOf gathers what names the dump's contents.
func namesOf(d *heapdump.Dump) retain.Names {
	n := retain.Names{Func: funcAt}
	table, err := executable(d)
	if err != nil {
		n.Remedy = " (" + err.Error() + ")"
		return n
	}
	n.Table = table
	if types, err := table.Types(); err == nil {
		known := map[uint64]string{}
		d.Types(func(addr uint64, t heapdump.Type) { known[addr] = t.Name })
		types.Calibrate(known)
		n.Types = types
	}
	return n
}

func funcAt(pc uint64) retain.Func {
	f := runtime.FuncForPC(uintptr(pc))
	if f == nil {
		return retain.Func{}
	}
	file, line := f.FileLine(uintptr(pc))
	c := retain.Func{Name: f.Name(), File: file, Line: line, Entry: uint64(f.Entry())}
	if outer := runtime.FuncForPC(f.Entry()); outer != nil && outer.Name() != c.Name {
		c.Name, c.Inlined = outer.Name(), c.Name
	}
	return c
}

// built remembers a test's executable with symbols: building it again takes about a second. It is guarded by open.
var built struct {
	table *symbols.Table
	err   error
}

// executable returns the symbol table of this executable, or of the same one built again with symbols. A
// service reads its own each time: the table of a large program takes tens of megabytes.
func executable(d *heapdump.Dump) (*symbols.Table, error) {
	if built.table != nil || built.err != nil {
		return built.table, built.err
	}
	t, err := openExecutable()
	if err == nil {
		err = locate(t, d)
	}
	if err != nil {
		t = nil
	}
	if testing.Testing() {
		built.table, built.err = t, err
	}
	return t, err
}

const remedy = "for its name: go test -ldflags='-s=false -w=false'"

func openExecutable() (*symbols.Table, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, errors.New(remedy)
	}
	t, err := symbols.Open(exe)
	if !errors.Is(err, symbols.ErrStripped) {
		return t, err
	}
	if !testing.Testing() {
		return nil, errors.New("for its name: link without -s and -w")
	}
	dir, err := os.MkdirTemp("", "leakcheck-*")
	if err != nil {
		return nil, errors.New(remedy)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "same.test")
	if err := buildAgain(out); err != nil {
		return nil, errors.New(remedy)
	}
	t, err = symbols.Open(out)
	if err == nil {
		_, err = t.Types() // read it while it is there
	}
	return t, err
}

// buildAgain builds this test's executable once more, with symbols. Everything but the link is in go's cache.
func buildAgain(out string) error {
	info, ok := debug.ReadBuildInfo()
	goCmd, err := exec.LookPath("go")
	if err != nil || !ok {
		return errors.New("no go command")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, goCmd, append([]string{"test", "-c", "-vet=off", "-o", out}, buildFlags(info)...)...)
	cmd.Dir = startDir
	cmd.Env = append(os.Environ(), buildEnv(info)...)
	return cmd.Run()
}

// buildFlags are the flags that change what is compiled.
func buildFlags(info *debug.BuildInfo) []string {
	var flags []string
	for _, s := range info.Settings {
		switch s.Key {
		case "-race", "-msan", "-asan", "-tags", "-trimpath", "-gcflags", "-asmflags", "-buildmode", "-cover", "-covermode", "-pgo":
			flags = append(flags, s.Key+"="+s.Value)
		}
	}
	if mode := testing.CoverMode(); mode != "" {
		flags = append(flags, "-cover", "-covermode="+mode)
	}
	return append(flags, ".")
}

func buildEnv(info *debug.BuildInfo) []string {
	var env []string
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "GO") || strings.HasPrefix(s.Key, "CGO_") {
			env = append(env, s.Key+"="+s.Value)
		}
	}
	return env
}

// locate finds where the process has what the table names, and proves it with a variable whose place is known. Under
// -coverpkg, which is recorded nowhere, other code is built again: then functions do not begin where goroutines stand.
func locate(t *symbols.Table, d *heapdump.Dump) error {
	if err := t.Place(d.Data.Addr, uint64(d.Data.Len), d.BSS.Addr, uint64(d.BSS.Len)); err != nil {
		return errors.New(remedy)
	}
	at := uint64(uintptr(unsafe.Pointer(&planted)))
	bss := at >= d.BSS.Addr && at < d.BSS.Addr+uint64(d.BSS.Len)
	sym, off, ok := t.Data(at, bss)
	if !ok || off != 0 || !strings.HasSuffix(sym.Name, "internal/ownheap.planted") {
		return errors.New(remedy)
	}
	pc := reflect.ValueOf(namesOf).Pointer()
	t.PlaceText(runtime.FuncForPC(pc).Name(), uint64(pc))
	for _, f := range d.Frames {
		if !t.Begins(f.Entry) {
			t.OtherCode()
			break
		}
	}
	return nil
}
