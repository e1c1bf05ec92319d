package retain_test

import (
	"bytes"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump/dumptest"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// Whatever can be read has paths, sizes and sites.
func FuzzSearch(f *testing.F) {
	var w dumptest.Writer
	w.Header()
	w.Object(1, []int{0, 2})
	w.Object(2, []int{2})
	w.Object(0, []int{1})
	w.Roots([]int{0, 2})
	w.Rest()
	w.End()
	f.Add(w.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := heapdump.Read(bytes.NewReader(b), int64(len(b)), nil)
		if err != nil || d.Len() > 1000 {
			return
		}
		h := retain.New(d, retain.Names{})
		var all []int32
		for o := range int32(d.Len()) {
			all = append(all, o)
		}
		s := h.Search(all)
		for _, p := range s.Paths(all, 3) {
			_ = p.String()
		}
		_ = s.Explain(all, 1).String()
		h.Sites()
		h.Tree()
	})
}
