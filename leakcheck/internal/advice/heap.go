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
}

// HeapFix says how to release what grows. line is the text of the line that allocates, caller the line of
// the module under test where that is in another module, and path what retains it, where that is known.
func HeapFix(line string, caller source.Frame, path []Step) string {
	fix := fixOfPath(path)
	switch {
	case fix != "":
	case strings.Contains(line, "append("):
		fix = "declare the slice inside the operation, or bound it"
	case strings.Contains(line, "] ="):
		fix = "remove the entry when it is no longer needed, or bound the map"
	default:
		fix = "remove the reference when the operation ends, or bound what holds it"
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

// fixOfPath is the fix for the last thing on the path that has one; empty where none has.
func fixOfPath(path []Step) string {
	if slices.ContainsFunc(path, func(s Step) bool { return isContext(s.Type) && strings.Contains(s.Name, "children") }) {
		return "call the context's cancel function when its work ends"
	}
	for i := len(path) - 1; i >= 0; i-- {
		s := path[i]
		switch {
		case s.Kind == "timer":
			return "call Stop on the timer when it is no longer needed"
		case hasFinalizer(s):
			return "break the cycle at a link named above, or replace the finalizer by runtime.AddCleanup"
		case i == len(path)-1:
		case s.Kind == "map" || strings.HasPrefix(s.Type, "map[") || strings.Contains(s.Type, "sync.Map"):
			return "remove the entry when it is no longer needed, or bound the map"
		case s.Kind == "channel" || strings.HasPrefix(s.Type, "chan "):
			return "receive what is sent to the channel, or stop sending"
		case s.Kind == "slice" || strings.HasPrefix(s.Type, "[]"):
			return "remove the element when it is no longer needed, or bound the slice"
		case s.Type == "list.Element" || s.Type == "*list.Element":
			return "remove the element when it is no longer needed, or bound the list"
		case s.Kind == "goroutine":
			return "end that goroutine, or remove the reference from its variables"
		}
	}
	return ""
}

func hasFinalizer(s Step) bool { return strings.HasSuffix(s.Kind, "finalizer") }

func isContext(typ string) bool {
	return strings.Contains(typ, "context.cancelCtx") || strings.Contains(typ, "context.timerCtx")
}

// MayBeCache reports whether what retains an object may be a cache that has not filled yet: a map, a
// slice or a list that lives on. Where the path is not known it may.
func MayBeCache(path []Step) bool {
	for _, s := range path {
		if s.Kind == "timer" || hasFinalizer(s) || s.Kind == "goroutine" || isContext(s.Type) {
			return false
		}
	}
	return true
}
