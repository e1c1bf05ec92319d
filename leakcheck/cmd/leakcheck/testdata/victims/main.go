// Victims are five small services that never heard of leakcheck. Each retains more than it should,
// in a way of its own.
//
//	victims cache|workers|hooks|sessions|timers|busy|bills|guests|shelf|train
//
// It reads commands from its standard input, a line each, and answers with a line.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// kept is how many things each service retains.
const kept = 200

var services = map[string]func(){
	"cache": cache, "workers": workers, "hooks": hooks, "sessions": fillSessions, "timers": timers, "busy": busy, "large": large, "bills": bills, "guests": guests,
	"train": fillTrain,
	"shelf": func() {},
}

// secret is what a redacted dump must not hold. It is never printed.
func secret(where string) string {
	b, _ := hex.DecodeString(os.Getenv("SECRET"))
	return where + ":" + string(b)
}

func main() {
	switch os.Args[1] {
	case "workers", "hooks", "timers":
		runtime.MemProfileRate = 1 // every object has its allocation site
	}
	if len(os.Args) > 9 { // never: without a reference the linker would drop the heap profile and these variables
		runtime.MemProfile(nil, true)
		fmt.Println(last)
	}
	services[os.Args[1]]()
	books := shelf()
	runtime.GC()
	runtime.GC()
	fmt.Println("ready", os.Getpid())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch name, arg, _ := strings.Cut(in.Text(), " "); name {
		case "ping":
			fmt.Println("pong", arg)
		case "dump":
			f, err := os.Create(arg)
			if err != nil {
				panic(err)
			}
			debug.WriteHeapDump(f.Fd())
			f.Close()
			fmt.Println("dumped")
		case "crash":
			debug.SetTraceback("crash")
			panic("as asked")
		}
	}
	fmt.Fprintln(os.Stderr, len(books), "books")
}
