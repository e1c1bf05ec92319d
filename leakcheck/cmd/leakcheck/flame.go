package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/flame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// flameDumps writes the retention profile of one dump, or of the growth between two.
func flameDumps(c *command, args []string) error {
	c.flags.StringVar(&c.exe, "exe", "", "the `executable` that wrote the dump, with symbols")
	c.pidFlag(insteadOfDump)
	before := c.flags.String("diff", "", "show what grew since this `dump`; as naming two dumps does")
	files, err := c.parse(args)
	if err != nil {
		return err
	}
	if c.pid != 0 {
		files = append(files, c.processName())
	}
	if *before != "" {
		files = append([]string{*before}, files...)
	}
	dumps, out, err := c.flameFiles(files)
	if err != nil {
		return err
	}
	if err := writable(out); err != nil {
		return err
	}
	trees := make([]*retain.Tree, len(dumps))
	for i, file := range dumps {
		if trees[i], err = c.tree(file); err != nil {
			return err
		}
	}
	fmt.Fprint(c.errOut, strings.TrimPrefix(c.unnamed()+"\n", "\n"))
	p := flame.Of(trees[len(trees)-1])
	if len(trees) == 2 {
		p = flame.Diff(trees[0], trees[1])
	}
	if s, err := os.Stat(dumps[len(dumps)-1]); err == nil {
		p.Time = s.ModTime().UnixNano()
	}
	return c.writeProfile(p, out)
}

// flameFiles tells dumps from the profile that is to be written. The latter is "" for standard
// output.
func (c *command) flameFiles(files []string) (dumps []string, out string, err error) {
	for _, f := range files {
		switch {
		case !strings.HasSuffix(f, ".pb.gz"):
			dumps = append(dumps, f)
		case out != "":
			return nil, "", c.wrong("two profiles are named, %s and %s: one is written", out, f)
		default:
			out = f
		}
	}
	switch {
	case len(dumps) == 0:
		return nil, "", c.wrong("name a dump, or two to see what grew, and the profile to write")
	case len(dumps) > 2:
		return nil, "", c.wrong("%d dumps are named: it takes one, or two to see what grew (a profile's name ends in .pb.gz)", len(dumps))
	case out == "":
		if f := c.missing(dumps); f != "" {
			return nil, "", c.wrong("%s does not exist: name a dump, and the profile to write, which ends in .pb.gz", f)
		}
		if terminal(c.out) != nil {
			return nil, "", c.wrong("name the profile to write, which ends in .pb.gz, or send the output to a file")
		}
	}
	return dumps, out, nil
}

// missing is one of the dumps that does not exist, or "".
func (c *command) missing(dumps []string) string {
	for _, f := range dumps {
		if _, err := os.Stat(f); os.IsNotExist(err) && (c.pid == 0 || f != c.processName()) {
			return f
		}
	}
	return ""
}

// tree reads one dump at a time: two large ones need not be in memory together.
func (c *command) tree(file string) (*retain.Tree, error) {
	d, err := c.open(file)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Tree(), nil
}

func (c *command) writeProfile(p *profile.Profile, out string) error {
	if out == "" {
		return p.Write(c.out)
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // map keys are left out, but names may be a secret too
	if err != nil {
		return err
	}
	if err := errors.Join(p.Write(f), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s: %s in %s. Look at it with: go tool pprof -http=: %s\n", out, figure.Bytes(total(p, 1)), figure.Plural(int(total(p, 0)), "object"), out)
	return err
}

func total(p *profile.Profile, value int) (sum int64) {
	for _, s := range p.Samples {
		sum += s.Values[value]
	}
	return sum
}
