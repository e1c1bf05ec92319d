// Package flame writes what retains the memory of a heap as a pprof profile. In a flame graph of it
// a box is as wide as what would be freed with it: roots are at the top, the objects that they
// retain below them, and the lines that allocated at the end.
package flame

import (
	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// Of returns the profile of a tree: inuse_objects and inuse_space, the root outermost. Samples have
// the labels "root", the kind of root, and "state", what the goroutine does.
func Of(t *retain.Tree) *profile.Profile {
	p := empty()
	add(p, map[profile.Frame]int32{}, t, 1, nil)
	return p
}

// Diff returns what after retains more than before. Nodes are matched by their text. The samples of
// before are negative and have the label that pprof gives to a base, so that its page says growth
// and shrinking.
func Diff(before, after *retain.Tree) *profile.Profile {
	p := empty()
	frames := map[profile.Frame]int32{}
	add(p, frames, before, -1, []profile.Label{{Key: "pprof::base", Value: "true"}})
	add(p, frames, after, 1, nil)
	return p
}

func empty() *profile.Profile {
	return &profile.Profile{
		Types:   []profile.ValueType{{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"}},
		Default: "inuse_space",
		Comment: "leakcheck: a box is as wide as what would be freed with it",
	}
}

func add(p *profile.Profile, frames map[profile.Frame]int32, t *retain.Tree, sign int64, labels []profile.Label) {
	frame := make([]int32, len(t.Nodes))
	for i, n := range t.Nodes {
		f := profile.Frame{Func: n.Label, File: n.File, Line: int64(n.Line)}
		id, ok := frames[f]
		if !ok {
			id = int32(len(p.Frames))
			frames[f], p.Frames = id, append(p.Frames, f)
		}
		frame[i] = id
	}
	for i, n := range t.Nodes {
		if n.Objects == 0 {
			continue
		}
		s := profile.Sample{Values: []int64{sign * n.Objects, sign * n.Bytes}}
		for at := int32(i); at >= 0; at = t.Nodes[at].Parent {
			s.Stack = append(s.Stack, frame[at])
		}
		s.Labels = append(s.Labels, profile.Label{Key: "root", Value: n.Root})
		if n.State != "" {
			s.Labels = append(s.Labels, profile.Label{Key: "state", Value: n.State})
		}
		s.Labels = append(s.Labels, labels...)
		p.Samples = append(p.Samples, s)
	}
}
