package dumpwrite

import (
	"io"

	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
)

// Memory writes a dump of a process whose memory does not change while it is read and whose
// threads' registers are not known, such as a frozen copy. A goroutine that was running has one
// frame, which is all of its stack.
func Memory(src goruntime.Source, exe *goruntime.Exe, contents bool, w io.Writer) (Stats, error) {
	r, err := goruntime.New(exe, src)
	if err != nil {
		return Stats{}, err
	}
	if _, err := r.Survey(nil, contents); err != nil {
		return Stats{}, err
	}
	if err := r.Records(); err != nil {
		return Stats{}, err
	}
	return write(w, r, contents)
}
