// Command pool measures package pool beside raw sync.Pool and its peers: what a lease costs, and
// what the heap holds after traffic of mixed sizes and after a burst. Each figure about the heap is
// measured in a process of its own.
//
//	go run -C internal/bench ./pool
//	go run -C internal/bench ./pool "fill 4 KiB" # only the tables with this in their title
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leaksafe/leaksafe/internal/bench/side"
)

func main() {
	if len(os.Args) == 3 {
		held(os.Args[1], os.Args[2])
		return
	}
	part := ""
	if len(os.Args) == 2 { // only the tables with this in their title
		part = os.Args[1]
	}
	speed(part)
	heap(part, "mixed", "heap: 400,000 operations of 64 goroutines, 1 in 100 of 1 MiB, the others of 1 KiB", "B/op", "MiB after 1 s of 1 KiB only and one GC")
	heap(part, "burst", "heap: 256 buffers of 1 MiB at once, all released", "MiB after one GC", "MiB after 1 s without traffic and one GC more")
}

func speed(part string) {
	// Short rounds: one in which nobody else used the machine is likely.
	o := side.Options{Rounds: 120, Round: 10 * time.Millisecond, Progress: side.Progress()}
	table := func(title string, cases func() []side.Case) {
		if strings.Contains(title, part) {
			side.Table(os.Stdout, title, side.Compare(cases(), o))
		}
	}
	for _, s := range []struct {
		title string
		size  int
		fill  bool
	}{
		{"lease, fill 4 KiB, release", 4 << 10, true},
		{"lease, release (4 KiB)", 4 << 10, false},
		{"lease, fill 40 KiB, release", 40 << 10, true},
		{"lease, fill 1 MiB, release", 1 << 20, true},
	} {
		table(s.title, func() []side.Case { return leases(s.size, s.fill) })
	}
	table("behind an interface: get 4 KiB, touch, put", func() []side.Case { return adapters(4 << 10) })
	o.Rounds, o.Round = 25, 60*time.Millisecond // each round begins after a collection, with empty pools
	table("64 goroutines, fill 256 B to 256 KiB", crowd)
	table("lease an object, use it, release", objects)
	table("encode 2.6 KB of JSON", encoders)
}

// heap runs a process for each holder and prints what two figures it found.
func heap(part, program, title string, columns ...string) {
	if !strings.Contains(title, part) {
		return
	}
	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\t%s\t\n", strings.Join(columns, "\t"))
	for _, name := range holders {
		out, err := exec.Command(self, program, name).CombinedOutput()
		if err != nil {
			log.Fatalf("%s %s: %v\n%s", program, name, err, out)
		}
		fmt.Fprintf(w, "%s\t%s\t\n", name, strings.ReplaceAll(strings.TrimSpace(string(out)), " ", "\t"))
	}
	w.Flush()
	fmt.Println()
}
