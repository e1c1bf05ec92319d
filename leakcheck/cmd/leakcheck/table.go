package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

func summary(c *command, args []string) error {
	c.readFlags()
	html := c.htmlFlag()
	files, err := c.dumps(args, 1, oneDump)
	if err != nil {
		return err
	}
	if err := writable(*html); err != nil {
		return err
	}
	file := files[0]
	d, err := c.open(file)
	if err != nil {
		return err
	}
	defer d.Close()
	census, tree := d.Survey()
	suspects := tree.Suspects(nil)
	if *html != "" {
		p := newPage(tree, nil, suspects)
		p.Title, p.About = "What retains the memory of "+file, d.about(file, census)
		if err := p.write(*html); err != nil {
			return err
		}
	}
	if c.json {
		return c.encode(struct {
			Suspects []retain.Suspect
			Sites    []*retain.Site
		}{suspects, census.Sites})
	}
	fmt.Fprintln(c.out, d.about(file, census)+c.unnamed())
	c.printSuspects(suspects)
	fmt.Fprintln(c.out)
	return c.printTable(func(w io.Writer) {
		fmt.Fprint(w, "count\tshallow\tretained\t  \t\n")
		sites := slices.DeleteFunc(slices.Clone(census.Sites), func(s *retain.Site) bool { return s.Led })
		for _, i := range c.top(len(sites)) {
			s := sites[i]
			fmt.Fprintf(w, "%s\t%s\t%s\t  %s\n", figure.Number(s.Count), figure.Bytes(s.Bytes), figure.Bytes(s.Retained), where(s))
		}
	})
}

func (c *command) htmlFlag() *string {
	return c.flags.String("html", "", "write a page to this `file` too: the suspects, and the tree of what retains the memory")
}

// about says in a sentence what is in a dump.
func (d *dump) about(file string, census *retain.Census) string {
	var bytes int64
	for _, s := range census.Sites {
		bytes += s.Bytes
	}
	return fmt.Sprintf("%s: %s in %s, %s\n%s", file, figure.Bytes(bytes), figure.Plural(d.Len(), "object"), d.GoVersion, d.share()) + d.redacted()
}

func (c *command) printSuspects(suspects []retain.Suspect) {
	for _, s := range suspects {
		fmt.Fprintf(c.out, "\n%s\n", wrapLines(s.String()))
	}
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

func where(s *retain.Site) string {
	name := s.Name
	if len(s.Below) > 0 {
		name += "  (below " + strings.Join(s.Below, " → ") + ")"
	}
	return strings.TrimRight(name+"  "+s.Source, " ")
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
	html := c.htmlFlag()
	files, err := c.dumps(args, 2, twoDumps)
	if err != nil {
		return err
	}
	if err := writable(*html); err != nil {
		return err
	}
	before, after := files[0], files[1]
	a, err := c.inventory(before)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := c.inventory(after)
	if err != nil {
		return err
	}
	defer b.Close()
	if !sameProcess(a.Heap, b.Heap) {
		a.tree, b.tree = a.tree.WithoutLines(), b.tree.WithoutLines()
	}
	rows, suspects := compare(a, b), b.tree.Suspects(a.tree)
	if *html != "" {
		p := newPage(b.tree, a.tree, suspects)
		p.Title, p.About = "What has grown from "+before+" to "+after, b.about(after, b.census)
		if err := p.write(*html); err != nil {
			return err
		}
	}
	if c.json {
		return c.encode(struct {
			Suspects []retain.Suspect
			Sites    []Row
		}{suspects, rows})
	}
	fmt.Fprintf(c.out, "%s → %s\n%s\n", before, after, b.samples+b.redacted()+c.unnamed())
	if !sameProcess(a.Heap, b.Heap) {
		fmt.Fprintln(c.out, "two processes: sites are matched without their lines, and objects counted, not told apart")
	}
	c.printSuspects(suspects)
	fmt.Fprintln(c.out)
	return c.printTable(func(w io.Writer) {
		fmt.Fprint(w, "# new\t# deleted\t# delta\tsize delta\tretained\t  \t\n")
		for _, i := range c.top(len(rows)) {
			r := rows[i]
			never := ""
			if r.NeverFreed {
				never = "  never freed"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t  %s  %s\n", figure.Number(r.New), figure.Number(r.Deleted), figure.SignedNumber(int64(r.Delta)), figure.SignedBytes(r.SizeDelta),
				figure.SignedBytes(r.RetainedDelta), r.Site+never, r.Source)
		}
	})
}

// sameProcess tells whether objects at the same address may be the same.
func sameProcess(a, b *retain.Heap) bool {
	return a.Data.Addr == b.Data.Addr && a.Data.Len == b.Data.Len && a.BSS.Addr == b.BSS.Addr && a.BSS.Len == b.BSS.Len &&
		a.HeapStart < b.HeapEnd && b.HeapStart < a.HeapEnd && a.GoVersion == b.GoVersion
}

// growth is what rows are sorted by: how much more the site retains. A list or a map that holds
// more retains more too, with hardly more objects than before: what it holds has a row of its own,
// and here only its own bytes count. most is the largest delta of all rows.
func (r *Row) growth(most int) int64 {
	if r.Delta <= 0 || r.Delta*16 < most && r.RetainedDelta > 16*r.SizeDelta {
		return r.SizeDelta
	}
	return r.RetainedDelta
}

// compare lists the sites that changed, the one that grew most first.
func compare(a, b *inventory) []Row {
	same := sameProcess(a.Heap, b.Heap)
	t := table{index: map[string]int32{}}
	before, after := t.rowsOf(a, same), t.rowsOf(b, same)
	t.add(a, before, -1)
	t.add(b, after, 1)
	for i := range t.rows {
		r := &t.rows[i]
		r.New, r.Deleted = max(r.Delta, 0), max(-r.Delta, 0)
		if same {
			r.New, r.Deleted = 0, 0
		}
	}
	if same {
		t.missing(b, after, a, before, func(r *Row) { r.New++ })
		t.missing(a, before, b, after, func(r *Row) { r.Deleted++ })
	}
	most := 0
	rows := slices.DeleteFunc(t.rows, func(r Row) bool { return r.New == 0 && r.Deleted == 0 })
	for i := range rows {
		r := &rows[i]
		r.NeverFreed = r.NeverFreed && r.Deleted == 0 // the profile counts what is freed one collection late
		most = max(most, r.Delta)
	}
	slices.SortFunc(rows, func(x, y Row) int {
		return cmp.Or(cmp.Compare(y.growth(most), x.growth(most)), cmp.Compare(y.SizeDelta, x.SizeDelta), strings.Compare(x.Site, y.Site))
	})
	return rows
}

// A table has a row for each site of two dumps.
type table struct {
	rows  []Row
	index map[string]int32
}

// rowsOf returns the row of each site. Lines move between builds: of two processes, sites are
// matched without them.
func (t *table) rowsOf(d *inventory, same bool) []int32 {
	out := make([]int32, len(d.census.Sites))
	for _, s := range d.census.Sites {
		key := s.By + " " + s.Name
		if fn, _, ok := strings.Cut(key, " ("); ok && !same && s.By == "site" {
			key = fn
		}
		i, ok := t.index[key]
		if !ok {
			i = int32(len(t.rows))
			t.index[key] = i
			t.rows = append(t.rows, Row{})
		}
		out[s.Index] = i
	}
	return out
}

// add counts the objects of a dump for its rows, or against them.
func (t *table) add(d *inventory, rows []int32, sign int) {
	for _, s := range d.census.Sites {
		r := &t.rows[rows[s.Index]]
		r.Site, r.By = s.Name, s.By
		r.Delta += sign * s.Count
		r.SizeDelta += int64(sign) * s.Bytes
		r.RetainedDelta += int64(sign) * s.Retained
		if sign > 0 {
			r.Source = s.Source
			r.Retained += s.Retained
			r.NeverFreed = r.NeverFreed || s.NeverFreed()
		}
	}
}

// missing counts the objects of each row that the other dump has not at that address.
func (t *table) missing(d *inventory, rows []int32, other *inventory, others []int32, count func(*Row)) {
	for o := range int32(d.Len()) {
		row := rows[d.census.Of(o).Index]
		there := other.Find(d.Addr(o))
		if there < 0 || other.Addr(there) != d.Addr(o) || others[other.census.Of(there).Index] != row {
			count(&t.rows[row])
		}
	}
}

// An inventory is what of a dump is compared.
type inventory struct {
	*dump
	census  *retain.Census
	tree    *retain.Tree
	samples string // how many objects have an allocation site
}

// inventory counts a dump, and frees the memory that is needed for this only.
func (c *command) inventory(file string) (*inventory, error) {
	d, err := c.open(file)
	if err != nil {
		return nil, err
	}
	i := &inventory{dump: d, samples: d.share()}
	i.census, i.tree = d.Survey()
	d.Forget()
	return i, nil
}

// printTable prints lines with columns aligned, and none of them too wide.
func (c *command) printTable(rows func(w io.Writer)) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(c.out, strings.TrimRight(cut(strings.TrimSuffix(line, "\n"), lineWidth), " ")); err != nil {
			return err
		}
	}
	return nil
}
