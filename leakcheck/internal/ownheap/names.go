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
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// startDir is the package's directory when this is a test: go test starts it there, and a test may
// leave it later.
var startDir, _ = os.Getwd()

// namesOf gathers what names the dump's contents.
func namesOf(d *heapdump.Dump) retain.Names {
	n := retain.Names{Func: funcAt}
	table, err := executable(d)
	if err != nil {
		n.NoNames = " (" + err.Error() + ")"
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

// known remembers what a test's executable says: building it again takes about a second. A service
// reads its own each time, since the table of a large program takes tens of megabytes, but keeps
// the layout. It is guarded by open.
var known struct {
	table     *symbols.Table // not yet located
	tableErr  error
	layout    *goruntime.Exe
	layoutErr error
}

// executable returns the symbol table of this executable, or of the same one built again with
// symbols.
func executable(d *heapdump.Dump) (*symbols.Table, error) {
	readExecutable()
	t, err := known.table, known.tableErr
	if !inTest() {
		known.table, known.tableErr = nil, nil
	}
	if err == nil {
		err = locate(t, d)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Prepare reads what a dump of a frozen copy needs to know of the executable, so that a later Take
// has it at hand. A test reads it when it needs it.
func Prepare() {
	if inTest() {
		return
	}
	open.Lock()
	defer open.Unlock()
	_, _ = layout() // Take tells
}

// layout says where the fields of the runtime's structures are.
func layout() (*goruntime.Exe, error) {
	if known.layout == nil && known.layoutErr == nil {
		readExecutable()
		if !inTest() {
			known.table, known.tableErr = nil, nil // it would be in the copy
		}
	}
	return known.layout, known.layoutErr
}

const remedy = "for its name: go test -ldflags='-s=false -w=false'"

// readExecutable reads this executable, or the same one built again with symbols, unless it is
// known.
func readExecutable() {
	if known.table != nil || known.tableErr != nil {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		known.tableErr, known.layoutErr = errors.New(remedy), err
		return
	}
	known.table, known.tableErr = symbols.Open(exe)
	switch {
	case !errors.Is(known.tableErr, symbols.ErrStripped):
		readLayout(exe, "")
	case !inTest():
		known.tableErr = errors.New("for its name: run a binary of go build, or go run -ldflags='-s=false -w=false'")
		readLayout(exe, "")
	default:
		known.table = nil
		if known.tableErr = readBuiltAgain(exe); known.tableErr != nil {
			known.table, known.tableErr = nil, errors.New(remedy)
		}
	}
}

func readLayout(exe, names string) {
	if known.layout == nil && known.layoutErr == nil {
		known.layout, known.layoutErr = goruntime.OpenTestExe(exe, names)
	}
}

func readBuiltAgain(exe string) error {
	goCmd, err := exec.LookPath("go")
	if err != nil {
		known.layoutErr = err
		return err
	}
	dir, err := os.MkdirTemp("", "leakcheck-*")
	if err != nil {
		known.layoutErr = err
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "same.test")
	if err := buildAgain(goCmd, out); err != nil {
		known.layoutErr = err
		return err
	}
	readLayout(exe, out)
	known.table, err = symbols.Open(out)
	if err == nil {
		_, err = known.table.Types() // read it while it is there
	}
	return err
}

// buildAgain builds this test's executable once more, with symbols. Everything but the link is in
// go's cache. It adds no flag: the binary records its flags, so one more flag would move its
// strings.
func buildAgain(goCmd, out string) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("no build information")
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
	if mode := coverMode(); mode != "" {
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

// locate finds where the process has what the table names, and proves it with a variable whose
// place is known. Under -coverpkg, which is recorded nowhere, other code is built again: then
// functions do not begin where goroutines stand.
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
		if f.Entry != 0 && !t.Begins(f.Entry) { // 0: of a goroutine that was running when a frozen copy was made
			t.OtherCode()
			break
		}
	}
	return nil
}
