package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A question says which objects why is about.
type question struct{ site, addr, typ string }

func why(c *command, args []string) error {
	var q question
	c.readFlags()
	c.flags.StringVar(&q.site, "site", "", "objects allocated by this `function`, or by a function that it calls")
	c.flags.StringVar(&q.addr, "addr", "", "the object at this `address`")
	c.flags.StringVar(&q.typ, "type", "", "objects of this `type`, such as shop.Session; a dump needs -exe for it")
	files, err := c.dumps(args, 1, oneDump)
	if err != nil {
		return err
	}
	if err := c.check(q); err != nil {
		return err
	}
	d, err := c.open(files[0])
	if err != nil {
		return err
	}
	defer d.Close()
	objects, err := c.wanted(d, q)
	if err != nil {
		return fmt.Errorf("%s: %w", files[0], err)
	}
	return c.explain(d, objects)
}

// explain prints what retains the objects.
func (c *command) explain(d *dump, objects []int32) error {
	paths := d.Search(objects).Paths(objects, c.rows)
	if c.json {
		return c.encode(paths)
	}
	more := ""
	if c.rows > 0 && len(paths) >= c.rows {
		more = " or more (-n 0 prints all)"
	}
	fmt.Fprintf(c.out, "%s, on %s%s%s\n", figure.Plural(len(objects), "object"), figure.Plural(len(paths), "path"), more, d.redacted()+c.unnamed())
	c.printPaths(paths)
	return nil
}

// lineWidth is how many columns a line has at most.
const lineWidth = 120

// printPaths prints paths. Steps that a path shares with the one before are not printed again.
func (c *command) printPaths(paths []retain.Path) {
	var before []string
	for _, p := range paths {
		answer, steps := p.Answer, strings.Split(strings.TrimPrefix(p.String(), p.Answer+"\n"), "\n")
		if len(p.Hops) == 0 {
			steps = nil
		}
		fmt.Fprintf(c.out, "\n%s\n", wrap(answer, lineWidth))
		shared := 0
		for shared < min(len(steps), len(before)) && bare(steps[shared]) == bare(before[shared]) {
			shared++
		}
		if shared < 2 {
			shared = 0
		} else {
			fmt.Fprintf(c.out, "  (the first %d steps are those of the path above)\n", shared)
		}
		for _, line := range steps[shared:] {
			fmt.Fprintln(c.out, cut(line, lineWidth))
		}
		before = steps
	}
}

// bare is a line without the spaces that align columns, and without what tells one of many alike
// from another.
func bare(line string) string {
	return instance.ReplaceAllString(strings.Join(strings.Fields(line), " "), "…")
}

var instance = regexp.MustCompile(`\[("[^"]*"…?|-?[0-9]+|…)\]|goroutine [0-9]+`)

// cut shortens a line to a width.
func cut(line string, width int) string {
	if r := []rune(line); len(r) > width {
		return strings.TrimRight(string(r[:width-1]), " ") + "…"
	}
	return line
}

// wrapLines breaks each line of a text at the width of a line.
func wrapLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = wrap(line, lineWidth)
	}
	return strings.Join(lines, "\n")
}

// wrap breaks a sentence into lines of a width.
func wrap(text string, width int) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n  ")
			at = 2
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

// check refuses a question that cannot be answered, before a process is stopped for it.
func (c *command) check(q question) error {
	asked := 0
	for _, s := range []string{q.site, q.addr, q.typ} {
		if s != "" {
			asked++
		}
	}
	switch {
	case asked == 0:
		return c.wrong("say what to look for: -site F, -addr A or -type T")
	case asked > 1:
		return c.wrong("give one of -site, -addr and -type")
	case q.typ != "" && c.exe == "" && c.pid == 0:
		return c.wrong("-type needs -exe: types are named by the executable that wrote the dump")
	case q.addr != "":
		_, err := q.address()
		if err != nil {
			return c.wrong("%w", err)
		}
	}
	return nil
}

func (q question) address() (uint64, error) {
	addr, err := strconv.ParseUint(strings.TrimPrefix(q.addr, "0x"), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("-addr %s is not a hexadecimal address: give one such as 0xc000012340", q.addr)
	}
	return addr, nil
}

// wanted are the objects that a flag names.
func (c *command) wanted(d *dump, q question) ([]int32, error) {
	switch {
	case q.addr != "":
		addr, err := q.address()
		if err != nil {
			return nil, err
		}
		o, ok := d.ObjectAt(addr)
		if !ok {
			return nil, fmt.Errorf("no object at %s: the address is not in the heap, or the object was freed", q.addr)
		}
		return []int32{o}, nil
	case q.site != "":
		return some(d.ObjectsAllocatedIn(q.site), "was allocated in "+q.site+" ("+d.share()+")")
	}
	return d.ObjectsOfType(q.typ)
}

func some(objects []int32, what string) ([]int32, error) {
	if len(objects) == 0 {
		return nil, errors.New("no object " + what)
	}
	return objects, nil
}
