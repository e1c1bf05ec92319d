package mapper

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// An Error says which part of a value could not be mapped, and why. Neither its fields nor its text
// hold values of the source, which may be secret. The one exception is Err, if a user's function or
// an UnmarshalText method returned it. errors.Unwrap and errors.As return that error, but the text
// of Error leaves its text out. To have it shown, that error, or an error that it wraps, must have
// a method Safe() bool that returns true, which declares that its text holds no values.
type Error struct {
	// Path is the path from the destination's top to the part, such as "Items[3].Price". It is
	// empty for the top itself. Keys of maps are written [*].
	Path string
	// Src and Dst are the types of the two parts. Src is nil if the destination has no source.
	Src, Dst reflect.Type
	// Err is the reason.
	Err error
}

func (e *Error) Error() string {
	return "mapper: " + e.line()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) line() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Src != nil {
		fmt.Fprintf(&b, "%s to ", e.Src)
	}
	if e.Dst != nil {
		fmt.Fprintf(&b, "%s: ", e.Dst)
	}
	b.WriteString(e.reason())
	return b.String()
}

func (e *Error) reason() string {
	var own reason
	var build *BuildError
	var safe interface {
		error
		Safe() bool
	}
	switch {
	case errors.As(e.Err, &build) && (len(build.Problems) > 1 || build.Problems[0].Path != ""):
		return build.list()
	case errors.As(e.Err, &own):
		return string(own)
	case errors.As(e.Err, &safe) && safe.Safe():
		return safe.Error()
	}
	return fmt.Sprintf("the conversion returned a %T; its text is left out, because it may hold values (errors.Unwrap has it)", e.Err)
}

// A reason is an error of this package: its text holds no values.
type reason string

func (r reason) Error() string { return string(r) }

const (
	errRange    reason = "the destination cannot hold this number exactly"
	errSyntax   reason = "the text is not a number or bool of this type"
	errLength   reason = "the slice's length is not the array's"
	errKeys     reason = "two keys of the source become one key"
	errHash     reason = "the key cannot be hashed"
	errDepth    reason = "the data nests deeper than Options.MaxDepth allows: set it higher"
	errStack    reason = "the data nests deeper than the stack allows, whatever Options.MaxDepth says"
	errCyclic   reason = "the data is cyclic, this part leads back to itself: break the cycle, or Ignore the field that closes it"
	errTrees    reason = "more than 100,000 parts would be copied again because several paths lead to them: leave Options.Trees out"
	errOverlap  reason = "parts of the source overlap, and each would be copied apart, more than 4 times the bytes of the source in all: use Share or Convert"
	errRest     reason = "the source has more than one value in it, such as an infinity or an exponent: use Convert"
	errIdentity reason = "a copy of an error is another error: use Share or Convert"
	errMethods  reason = "the source does not implement the destination: use Convert"
	errNil      reason = "nil pointer: pass pointers to a destination and to a source"
	errAny      reason = "MapAny needs a pointer to a destination and a source that is not nil"
	errUnmade   reason = "this Mapper was not made by New: create it with New or Must"
)

// A failure is an Error on its way out: each level adds its name.
type failure struct {
	path     []string // innermost first
	src, dst reflect.Type
	err      error
}

func (n *node) fail(err error) *failure {
	if nested, ok := err.(*Error); ok { // Convert(other.Map)
		return &failure{path: []string{join("", nested.Path)}, src: nested.Src, dst: nested.Dst, err: nested.Err}
	}
	return &failure{src: n.src, dst: n.dst, err: err}
}

// in adds a level: a field's name or, in brackets, an index.
func (f *failure) in(name string) *failure {
	if name == "" { // After, of the whole
		return f
	}
	f.path = append(f.path, "."+name)
	return f
}

func (f *failure) at(i int) *failure {
	f.path = append(f.path, "["+strconv.Itoa(i)+"]")
	return f
}

func (f *failure) atKey() *failure {
	f.path = append(f.path, "[*]")
	return f
}

// maxPath bounds the levels of a path: the path of cyclic data would have a thousand.
const maxPath = 24

func (f *failure) error() error {
	if f == nil {
		return nil
	}
	parts := slices.Clone(f.path)
	slices.Reverse(parts)
	if over := len(parts) - maxPath; over > 0 {
		parts = slices.Replace(parts, maxPath/2, maxPath/2+over, fmt.Sprintf("...%d levels...", over))
	}
	return &Error{Path: strings.TrimPrefix(strings.Join(parts, ""), "."), Src: f.src, Dst: f.dst, Err: f.err}
}

// A BuildError lists every reason why a Mapper cannot be built.
type BuildError struct {
	Src, Dst reflect.Type
	Problems []*Error
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("mapper: %s to %s: %s", e.Src, e.Dst, e.list())
}

func (e *BuildError) list() string {
	var b strings.Builder
	plural := "s"
	if len(e.Problems) == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "%d problem%s:", len(e.Problems), plural)
	for _, p := range e.Problems {
		b.WriteString("\n\t" + strings.ReplaceAll(p.line(), "\n", "\n\t"))
	}
	return b.String()
}

// Unwrap returns the problems.
func (e *BuildError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// atIndex adds the index of an element to an Error of it.
func atIndex(err error, i int) error {
	e, ok := err.(*Error)
	if !ok {
		return err
	}
	at := *e
	at.Path = join("["+strconv.Itoa(i)+"]", e.Path)
	return &at
}

// join puts an outer path before an inner one.
func join(outer, inner string) string {
	if inner == "" || inner[0] == '[' {
		return outer + inner
	}
	return outer + "." + inner
}
