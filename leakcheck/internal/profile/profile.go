// Package profile reads and writes pprof profiles: gzipped protocol buffers of the form
// github.com/google/pprof/proto/profile.proto.
//
// A call that was inlined is a frame like any other: a sample's stack is a flat list of frames, and
// addresses and mappings are left out.
package profile

// A Profile is a set of samples.
type Profile struct {
	Types   []ValueType // what the values of each sample are
	Default string      // the type that tools show first
	Frames  []Frame     // samples refer to them by index
	Samples []Sample
	Time    int64 // when it was taken, in nanoseconds since 1970; 0 when unknown
	Comment string
}

// A ValueType is a kind of value, such as inuse_space, and its unit, such as bytes.
type ValueType struct{ Type, Unit string }

// A Frame is one line of a stack.
type Frame struct {
	Func string
	File string
	Line int64
}

// A Sample is a stack with a value of each type.
type Sample struct {
	Stack  []int32 // indexes of Profile.Frames, the innermost first
	Values []int64
	Labels []Label
}

// A Label is a tag of a sample.
type Label struct{ Key, Value string }

// Index returns the position of a value type, or -1.
func (p *Profile) Index(typ string) int {
	for i, t := range p.Types {
		if t.Type == typ {
			return i
		}
	}
	return -1
}
