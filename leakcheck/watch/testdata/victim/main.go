// Victim leaks until it is killed: victim Dir TerminationLog Limit MiBPerSecond SessionsAtTheStart [file of a cgroup's processes]
package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

type session struct {
	user string
	page []byte
}

type store struct{ sessions map[string]*session }

var open = &store{sessions: map[string]*session{}}

func (s *store) login(i int) {
	x := &session{user: strconv.Itoa(i), page: make([]byte, 32<<10)}
	for k := 0; k < len(x.page); k += 4096 {
		x.page[k] = 1
	}
	s.sessions[x.user] = x
}

func main() {
	if len(os.Args) > 6 { // join the group first: then its limit is found
		if err := os.WriteFile(os.Args[6], []byte("0"), 0); err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
	}
	limit, _ := strconv.ParseInt(os.Args[3], 10, 64)
	rate, _ := strconv.Atoi(os.Args[4])
	w, err := watch.Start(watch.Options{Interval: 100 * time.Millisecond, Dir: os.Args[1], TerminationLog: os.Args[2], Limit: limit,
		Log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	defer w.Stop()
	fmt.Println("started")
	atStart, _ := strconv.Atoi(os.Args[5])
	for i := range atStart {
		open.login(-i)
	}
	tick := time.NewTicker(time.Second / time.Duration(rate*32))
	for i := 0; ; i++ {
		<-tick.C
		open.login(i)
	}
}
