package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A question says which objects why is about.
type question struct{ site, addr, typ string }

func why(c *command, args []string) error {
	var q question
	c.readFlags()
	c.flags.StringVar(&q.site, "site", "", "objects allocated by this `function`, or by a function that it calls")
	c.flags.StringVar(&q.addr, "addr", "", "the object at this `address`")
	c.flags.StringVar(&q.typ, "type", "", "objects of this `type`; needs -exe")
	files, err := c.files(args, 1)
	if err != nil {
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
	fmt.Fprintf(c.out, "%s, on %s%s%s\n", count(len(objects), "object"), count(len(paths), "path"), more, d.redacted())
	for _, p := range paths {
		fmt.Fprintf(c.out, "\n%s\n", p)
	}
	return nil
}

// wanted are the objects that a flag names.
func (c *command) wanted(d *dump, q question) ([]int32, error) {
	switch {
	case q.addr != "":
		addr, err := strconv.ParseUint(strings.TrimPrefix(q.addr, "0x"), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("-addr %s is no hexadecimal address", q.addr)
		}
		o, ok := d.ObjectAt(addr)
		if !ok {
			return nil, fmt.Errorf("no object at %s", q.addr)
		}
		return []int32{o}, nil
	case q.site != "":
		return some(d.ObjectsAllocatedIn(q.site), "was allocated in "+q.site+d.share())
	case q.typ != "" && c.exe == "":
		return nil, errors.New("-type needs -exe: types are named by the executable")
	case q.typ != "":
		return some(d.ObjectsOfType(q.typ), "is known to be of type "+q.typ)
	}
	return nil, errors.New("say what to look for: -site F, -addr A or -type T")
}

func some(objects []int32, what string) ([]int32, error) {
	if len(objects) == 0 {
		return nil, errors.New("no object " + what)
	}
	return objects, nil
}
