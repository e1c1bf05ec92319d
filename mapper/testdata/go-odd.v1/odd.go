// Package odd has an import path that does not end in its name.
package odd

// A Value can be copied only by this package.
type Value struct {
	N int
	p *int
}

// Of returns a Value.
func Of(p *int) Value { return Value{p: p} }
