// Package watch draws the memory graph of a live service, and says what makes
// it climb.
//
//	w, err := watch.Start(watch.Options{Dir: "/var/lib/app/leaks"})
//	if err != nil {
//		return err
//	}
//	defer w.Stop()
//	mux.Handle("/debug/leaks/", w.Handler()) // behind authentication
//
// It samples the runtime's metrics without stopping the world, keeps them in
// fixed memory, and judges the least value of ten windows in a row: growth
// in every one of them that more work does not explain and that does not level
// off is a [Finding], with the time at which it reaches the limit, and the lines
// that grew. A window is eight samples; the same rule is applied to windows of
// 64, 512 and more samples, so that a climb of days is found too.
//
// # Leak
//
// Anything that a service keeps for each request:
//
//	var seen = map[string]bool{}
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		seen[r.URL.String()] = true
//	}
//
// The rule: the least live heap of a window may rise and fall with traffic, but not
// rise without end. TestSeries shows the rule's verdict on a table of series; TestLeakIsFound
// starts a leaking process and expects the line.
//
// # What it cannot know
//
// A cache that fills at an even pace looks like a leak until it is full. Memory
// outside the Go heap and file descriptors are measured on Linux only. Which line
// grew comes from the heap profile's samples: one in 512 KiB allocated
// ([runtime.MemProfileRate]), so that a small leak's line may be missing at first.
//
// # What retains the memory
//
// With [Options.Dir], and on Linux, a finding also says what retains the objects: watch takes a
// frozen copy of the process, at most once an hour, and reads it while the program goes on. When
// memory comes near the limit, it writes the finding and the three largest retainers to the log and
// to the container's termination message, before the kernel may kill the process, and then the
// retention profile and a redacted dump to Dir. Under a limit that leaves no room for that, the
// copies are taken before. [Watcher.Retained] serves the profile. Everywhere else the command
// leakcheck shows how to take a dump and read it.
//
// # Cost
//
// A service that imports watch and mounts its page is 7.2 MB larger (8.4 MB, a bare net/http
// server, to 15.6 MB; 5.1 MB larger if it is linked with -s -w, but then there are no retainers; Go
// 1.26, linux/amd64): the page's template, the profiles, and the readers of ELF, DWARF and the
// heap. Package testing is not among them.
//
// # Who may look
//
// Nothing is served unless a handler is mounted. [Watcher.Handler] serves the page and its numbers,
// and with [Options.ServeFiles] the files in Dir; [Watcher.Retained] the retention profile. They
// say what the program is made of: mount them behind the authorization of the service's other pages
// for operators. The page for many services is docs/500-services.md.
//
// The command leakvet (leakcheck/cmd/leakvet) finds, before a program runs, a Watcher that is not
// stopped on some path.
package watch
