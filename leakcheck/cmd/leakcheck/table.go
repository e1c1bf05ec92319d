package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

func summary(c *command, args []string) error {
	c.readFlags()
	files, err := c.files(args, 1)
	if err != nil {
		return err
	}
	file := files[0]
	d, err := c.open(file)
	if err != nil {
		return err
	}
	defer d.Close()
	sites := d.Sites()
	if c.json {
		return c.encode(sites)
	}
	var bytes int64
	for _, s := range sites {
		bytes += s.Bytes
	}
	fmt.Fprintf(c.out, "%s: %s in %s%s, %s\n\n", file, retain.Bytes(bytes), count(d.Len(), "object"), d.share(), d.GoVersion)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "count\tdistance\tshallow\tretained\t  \t\n")
	for _, s := range c.top(len(sites)) {
		s := sites[s]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t  %s\n", retain.Number(s.Count), distance(s.Distance), retain.Bytes(s.Bytes), retain.Bytes(s.Retained), where(s))
	}
	return w.Flush()
}

func (c *command) top(n int) []int {
	if c.rows > 0 {
		n = min(n, c.rows)
	}
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func distance(n int) string {
	if n == 0 {
		return "garbage"
	}
	return fmt.Sprint(n)
}

func where(s *retain.Site) string {
	return strings.TrimRight(s.Name+"  "+s.Source, " ")
}

// A Row is one site in two dumps.
type Row struct {
	Site          string
	By            string
	Source        string `json:",omitempty"`
	New           int
	Deleted       int
	Delta         int
	SizeDelta     int64
	RetainedDelta int64
	Retained      int64
	NeverFreed    bool `json:",omitempty"`
}

func compareDumps(c *command, args []string) error {
	c.readFlags()
	files, err := c.files(args, 2)
	if err != nil {
		return err
	}
	before, after := files[0], files[1]
	a, err := c.open(before)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := c.open(after)
	if err != nil {
		return err
	}
	defer b.Close()
	rows := compare(a.Heap, b.Heap)
	if c.json {
		return c.encode(rows)
	}
	fmt.Fprintf(c.out, "%s → %s%s\n", before, after, b.share())
	if !sameProcess(a.Heap, b.Heap) {
		fmt.Fprintln(c.out, "two processes: sites are matched without their lines, and objects counted, not told apart")
	}
	fmt.Fprintln(c.out)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "# new\t# deleted\t# delta\tsize delta\tretained\t  \t\n")
	for _, i := range c.top(len(rows)) {
		r := rows[i]
		never := ""
		if r.NeverFreed {
			never = "  never freed"
		}
		fmt.Fprintf(w, "%s\t%s\t%+d\t%s\t%s\t  %s%s\n", retain.Number(r.New), retain.Number(r.Deleted), r.Delta, signed(r.SizeDelta),
			signed(r.RetainedDelta), strings.TrimRight(r.Site+"  "+r.Source, " "), never)
	}
	return w.Flush()
}

func signed(n int64) string {
	if n < 0 {
		return "-" + retain.Bytes(-n)
	}
	return "+" + retain.Bytes(n)
}

// sameProcess tells whether objects at the same address may be the same.
func sameProcess(a, b *retain.Heap) bool {
	return a.Data.Addr == b.Data.Addr && a.Data.Len == b.Data.Len && a.BSS.Addr == b.BSS.Addr && a.BSS.Len == b.BSS.Len &&
		a.HeapStart < b.HeapEnd && b.HeapStart < a.HeapEnd && a.GoVersion == b.GoVersion
}

// growth is what rows are sorted by: how much more the site retains. A list or a map that holds more retains more too, with
// hardly more objects than before: what it holds has a row of its own, and here only its own bytes count. most is the
// largest delta of all rows.
func (r *Row) growth(most int) int64 {
	if r.Delta <= 0 || r.Delta*16 < most && r.RetainedDelta > 16*r.SizeDelta {
		return r.SizeDelta
	}
	return r.RetainedDelta
}

// compare lists the sites that changed, the one that grew most first.
func compare(a, b *retain.Heap) []Row {
	same := sameProcess(a, b)
	before, after := byKey(a, same), byKey(b, same)
	keys := map[string]bool{}
	for k := range before {
		keys[k] = true
	}
	for k := range after {
		keys[k] = true
	}
	var rows []Row
	for k := range keys {
		if r := row(a, b, before[k], after[k], same); r.New != 0 || r.Deleted != 0 {
			rows = append(rows, r)
		}
	}
	most := 0
	for _, r := range rows {
		most = max(most, r.Delta)
	}
	slices.SortFunc(rows, func(x, y Row) int {
		return cmp.Or(cmp.Compare(y.growth(most), x.growth(most)), cmp.Compare(y.SizeDelta, x.SizeDelta), strings.Compare(x.Site, y.Site))
	})
	return rows
}

// byKey finds a site in the other dump: lines move between builds.
func byKey(h *retain.Heap, same bool) map[string][]*retain.Site {
	out := map[string][]*retain.Site{}
	for _, s := range h.Sites() {
		key := s.By + " " + s.Name
		if fn, _, ok := strings.Cut(key, " ("); ok && !same && s.By == "site" {
			key = fn
		}
		out[key] = append(out[key], s)
	}
	return out
}

func row(a, b *retain.Heap, before, after []*retain.Site, same bool) Row {
	var r Row
	for _, s := range before {
		r.Site, r.By = s.Name, s.By
		r.Delta -= s.Count
		r.SizeDelta -= s.Bytes
		r.RetainedDelta -= s.Retained
	}
	for _, s := range after {
		r.Site, r.By, r.Source = s.Name, s.By, s.Source
		r.Delta += s.Count
		r.SizeDelta += s.Bytes
		r.RetainedDelta += s.Retained
		r.Retained += s.Retained
		r.NeverFreed = r.NeverFreed || s.NeverFreed()
	}
	r.New, r.Deleted = max(r.Delta, 0), max(-r.Delta, 0)
	if same {
		r.New = missing(b, after, a, before)
		r.Deleted = missing(a, before, b, after)
	}
	r.NeverFreed = r.NeverFreed && r.Deleted == 0 // the profile counts what is freed one collection late
	return r
}

// missing counts the objects of a site that the other dump has not at that address.
func missing(h *retain.Heap, sites []*retain.Site, other *retain.Heap, others []*retain.Site) int {
	there := map[uint64]bool{}
	for _, s := range others {
		for _, o := range s.Objects {
			there[other.Addr(o)] = true
		}
	}
	n := 0
	for _, s := range sites {
		for _, o := range s.Objects {
			if !there[h.Addr(o)] {
				n++
			}
		}
	}
	return n
}
