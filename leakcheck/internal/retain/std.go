package retain

import "strings"

// stdRoots are the first elements of the import paths of the standard library.
var stdRoots = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range strings.Fields(`archive arena bufio builtin bytes cmd cmp compress container context crypto database debug embed encoding errors
		expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect regexp runtime simd slices
		sort strconv strings structs sync syscall testing text time unicode unique unsafe uuid vendor weak`) {
		m[s] = true
	}
	return m
}()

// standardPath tells import paths and, as -trimpath names them, files of the standard library by
// their first element.
func standardPath(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return stdRoots[first]
}

// packageOf is the import path in the name of a symbol: net/http for net/http.(*Server).Serve.
func packageOf(symbol string) string {
	slash := strings.LastIndexByte(symbol[:typeArguments(symbol)], '/') + 1
	dot := strings.IndexByte(symbol[slash:], '.')
	if dot < 0 {
		return symbol
	}
	return symbol[:slash+dot]
}

// typeArguments is where the type arguments in a name begin, or its length.
func typeArguments(symbol string) int {
	if i := strings.IndexByte(symbol, '['); i >= 0 {
		return i
	}
	return len(symbol)
}

// declared tells variables that a person declared, outside the standard library.
func declared(symbol string) bool {
	return strings.Contains(symbol, ".") && !strings.HasPrefix(symbol, "go:") && !strings.HasPrefix(symbol, "type:") && !standardPath(packageOf(symbol))
}

// harness tells variables of packages that know the running tests, and through them their Cleanups.
func harness(symbol string) bool {
	if strings.HasPrefix(symbol, "testing.") || strings.HasPrefix(symbol, leakcheckPath+".") {
		return true
	}
	rest, ok := strings.CutPrefix(symbol, leakcheckPath+"/internal/")
	return ok && !strings.HasPrefix(rest, "zoo.") && !strings.Contains(rest, "_test.")
}

const leakcheckPath = "github.com/leaksafe/leaksafe/leakcheck"
