package advice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// A Step is a root, or an object on the way from the root to what grows, the root first.
type Step struct {
	Kind string // of package retain: "variable", "goroutine", "timer", "map" and so on
	Name string // of the variable, function or field
	Type string // as Go writes it; empty where it is not known
	Grew bool   // it holds what came with time: the container to bound. At most one step of a path
	Test bool   // the goroutine of a test, or what package testing holds for one
}

// HeapFix says how to release what grows. line is the text of the line that allocates, caller the
// line of the module under test where that is in another module, and path what retains it, where
// that is known.
func HeapFix(line string, caller source.Frame, path []Step) string {
	fix := fixOfPath(path)
	switch {
	case fix != "":
	case len(path) > 0 && isBytes(path[len(path)-1].Type):
		fix = "reset the buffer when its content is no longer needed, or bound it"
	case strings.Contains(line, "append(") && containerName(path, len(path)-1) != "":
		fix = fmt.Sprintf("remove elements from %s when they are no longer needed, or bound the slice", containerName(path, len(path)-1))
	case strings.Contains(line, "append("):
		fix = "declare the slice inside the operation, or bound it"
	case strings.Contains(line, "] ="):
		fix = "remove the entry when it is no longer needed, or bound the map"
	default:
		fix = "remove the reference when the operation ends, or bound what retains it"
	}
	if caller.Func != "" {
		return fmt.Sprintf("%s; what a library retains is bounded by what you give it in %s", fix, caller.Name())
	}
	return fix
}

// ObjectFix says how to release an object that a test has finished with.
func ObjectFix(path []Step) string {
	if fix := fixOfPath(path); fix != "" {
		return fix
	}
	return "remove the reference: from a map, a list, a package variable, a goroutine that has not ended, or a Cleanup registered before leakcheck's first call in this test"
}

const (
	cancel = "call the context's cancel function when its work ends"
	stop   = "call the stop function that context.AfterFunc returned, when its work ends"
)

// fixOfPath is the fix for the container that grew; where that is not known or has none, for the
// last thing on the path that has one. It is empty where none has.
func fixOfPath(path []Step) string {
	grew := slices.IndexFunc(path, func(s Step) bool { return s.Grew })
	if grew < 0 {
		grew = len(path) - 1
	}
	for _, s := range path[:grew+1] {
		if isContext(s.Type) && strings.Contains(s.Name, "children") {
			if hasAfterFunc(path) {
				return stop
			}
			return cancel
		}
	}
	var fixes []string
	slot := slices.IndexFunc(path, isUnusedSlot)
	if slot >= 0 {
		fixes = append(fixes, "clear the slot before the slice is cut: slices.Delete does, append(s[:i], s[i+1:]...) and s[1:] do not")
	}
	for i := grew; i >= 0; i-- {
		if fix := fixOfStep(path, i); fix != "" && (slot < 0 || i < slot && path[i].Grew) {
			fixes = append(fixes, fix)
			break
		}
	}
	return strings.Join(fixes, "; and ")
}

// hasAfterFunc reports whether context.AfterFunc made one of the contexts of a path.
func hasAfterFunc(path []Step) bool {
	return slices.ContainsFunc(path, func(s Step) bool { return strings.Contains(s.Type, "context.afterFuncCtx") })
}

// isUnusedSlot reports whether a slice's array refers to the next step from a slot that is not part
// of the slice.
func isUnusedSlot(s Step) bool { return strings.Contains(s.Name, "(a slot ") }

// fixOfStep is the fix for one step of a path, which is not its end.
func fixOfStep(path []Step, i int) string {
	s := path[i]
	switch {
	case s.Kind == "timer" && strings.Contains(s.Name, "of a context"):
		return cancel
	case s.Kind == "timer":
		return "call Stop on the timer when it is no longer needed"
	case hasFinalizer(s):
		return "break the cycle at a link named above, or replace the finalizer by runtime.AddCleanup"
	case i == len(path)-1:
		return ""
	case s.Kind == "map" || strings.HasPrefix(s.Type, "map[") || strings.Contains(s.Type, "sync.Map"):
		return remove("entry", "map", path, i)
	case s.Kind == "channel" || strings.HasPrefix(s.Type, "chan "):
		return "receive what is sent to the channel, or stop sending"
	case s.Kind == "slice" || strings.HasPrefix(s.Type, "[]"):
		return remove("element", "slice", path, i)
	case s.Type == "list.Element" || s.Type == "*list.Element":
		return remove("element", "list", path, i)
	case s.Test:
		return "the test itself retains it: declare it inside the operation, or remove the reference from the test's variables"
	case s.Kind == "goroutine":
		return "end that goroutine, or remove the reference from its variables"
	}
	return ""
}

// remove says what to take out of the container at a step.
func remove(what, container string, path []Step, i int) string {
	from := containerName(path, i)
	if from == "" {
		return fmt.Sprintf("remove the %s when it is no longer needed, or bound the %s", what, container)
	}
	return fmt.Sprintf("remove the %s from %s when it is no longer needed, or bound the %s", what, from, container)
}

// containerName is the variable or the field that refers to the container at a step; empty where it
// has no name.
func containerName(path []Step, i int) string {
	if i >= 0 && path[i].Kind == "variable" {
		return variableName(path[i])
	}
	if i < 1 {
		return ""
	}
	before := path[i-1]
	switch {
	case before.Kind == "variable":
		return variableName(before)
	case before.Type == "list.List", strings.HasPrefix(before.Type, "atomic."), before.Name == "" && before.Type != "" && before.Type == path[i].Type: // the last is a slice that a closure shares
		return containerName(path, i-1)
	case before.Kind == "object" && before.Type != "" && strings.HasPrefix(before.Name, ".") && !strings.ContainsAny(before.Name, " ,"):
		return strings.TrimPrefix(before.Type, "*") + before.Name
	case before.Kind == "closure" && strings.Contains(before.Name, "its variable "):
		_, variable, _ := strings.Cut(before.Name, "its variable ")
		return "variable " + variable
	}
	return ""
}

// variableName is empty for a variable that is known by its address only.
func variableName(s Step) string {
	if strings.Contains(s.Name, "+0x") {
		return ""
	}
	return s.Name
}

func hasFinalizer(s Step) bool { return strings.HasSuffix(s.Kind, "finalizer") }

func isContext(typ string) bool {
	return strings.Contains(typ, "context.cancelCtx") || strings.Contains(typ, "context.timerCtx")
}

// MayBeCache reports whether what retains an object may be a cache that has not filled yet: a map,
// a slice or a list of entries that lives on. Bytes and text are no entries. Where the path is not
// known it may.
func MayBeCache(path []Step) bool {
	for _, s := range path {
		if s.Kind == "timer" || hasFinalizer(s) || s.Kind == "goroutine" && !s.Test || isContext(s.Type) {
			return false
		}
	}
	return len(path) == 0 || slices.ContainsFunc(path, hasEntries)
}

// hasEntries reports whether a step is a container of entries, or a chain of objects.
func hasEntries(s Step) bool {
	switch t := strings.TrimPrefix(s.Type, "*"); {
	case isBytes(t):
		return false
	case strings.HasPrefix(t, "[]"), strings.HasPrefix(t, "map["), strings.Contains(t, "sync.Map"), t == "list.Element":
		return true
	}
	return s.Kind == "map" || s.Kind == "slice" || s.Kind == "…"
}

func isBytes(typ string) bool { return typ == "[]byte" || typ == "[]uint8" }
