// Command pool measures package pool beside raw sync.Pool and its peers: what a
// lease costs, and what the heap holds after traffic of mixed sizes and after a
// burst. Each figure of the heap is of a process of its own.
//
//	go run -C internal/bench ./pool
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/leaksafe/leaksafe/internal/bench/side"
)

func main() {
	if len(os.Args) == 3 {
		held(os.Args[1], os.Args[2])
		return
	}
	speed()
	heap("mixed", "400,000 operations of 64 goroutines, 1 in 100 of 1 MiB, the others of 1 KiB", "B/op", "MiB after 1 s of 1 KiB only and one GC")
	heap("burst", "256 buffers of 1 MiB at once, all released", "MiB after one GC", "MiB after 1 s without traffic and one GC more")
}

func speed() {
	o := side.Options{Rounds: 25, Progress: side.Progress()}
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
		side.Table(os.Stdout, s.title, side.Compare(leases(s.size, s.fill), o))
	}
	side.Table(os.Stdout, "lease an object, use it, release", side.Compare(objects(), o))
	side.Table(os.Stdout, "encode 2.6 KB of JSON", side.Compare(encoders(), o))
}

// heap runs a process for each holder and prints what two figures it found.
func heap(program, title string, columns ...string) {
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
