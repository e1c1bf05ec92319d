package mapper

import (
	"fmt"
	"go/token"
	"path"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode"
)

// This file writes types as they are written in the caller's package.

// spell returns a type as it is written in the caller's package, if it can be named there.
func (c *compiler) spell(t reflect.Type) (string, bool) {
	if t.Name() == "" {
		return c.spellLiteral(t)
	}
	name := localSuffix.ReplaceAllString(t.Name(), "")
	if i := strings.IndexByte(name, '['); i >= 0 {
		args, ok := c.spellArguments(name[i:])
		if !ok {
			return "", false
		}
		name = name[:i] + args
	}
	switch {
	case t.PkgPath() == "" || t.PkgPath() == c.caller():
		return name, true
	case !token.IsExported(t.Name()):
		return "", false
	}
	return c.qualifier(t.PkgPath()) + "." + name, true
}

// localSuffix is what reflect adds to the names of types that are declared in functions.
var localSuffix = regexp.MustCompile(`·\d+`)

// qualified is a type name in another's type arguments, as reflect writes it.
var qualified = regexp.MustCompile(`([\w.~%-]+(?:/[\w.~%-]+)*)\.(\pL[\pL\d_]*)`)

// spellArguments writes the type arguments of a generic type, which reflect gives with the whole
// import path.
func (c *compiler) spellArguments(args string) (spelled string, ok bool) {
	caller := c.caller() // called here, while only this package's functions are on the stack above the caller
	ok = true
	spelled = qualified.ReplaceAllStringFunc(args, func(of string) string {
		p, name := splitQualified(of)
		if p == caller {
			return name
		}
		q := c.qualifier(p)
		ok = ok && q != "" && token.IsExported(name)
		return q + "." + name
	})
	return spelled, ok
}

// splitQualified splits a name that qualified matches.
func splitQualified(name string) (path, typ string) {
	m := qualified.FindStringSubmatch(name)
	return strings.ReplaceAll(m[1], "%2e", "."), m[2]
}

// qualifier returns what stands before the names of a package's types, or "" if it is not known. It
// is the package's name or, if the plan has two packages of that name, a name for an import.
func (c *compiler) qualifier(of string) string {
	name := c.packageName(of)
	for p, other := range c.packages {
		if p != of && other == name {
			return alias(of, name)
		}
	}
	return name
}

// alias is a name for the import of a package: the last two elements of its path. For a/b/model it
// is bmodel.
func alias(of, name string) string {
	letters := func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}
	if a := strings.Map(letters, path.Base(path.Dir(of))) + name; token.IsIdentifier(a) {
		return a
	}
	return "other" + name
}

// imports says which imports under another name the lines need.
func (c *compiler) imports(lines []string) string {
	var list []string
	for p, name := range c.packages {
		a := c.qualifier(p)
		if a != name && slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, a+".") }) {
			list = append(list, fmt.Sprintf("import %s %q", a, p))
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return "The lines need " + strings.Join(list, " and ")
}

// packageName returns the name of the package with this import path, or "". A type of the plan may
// know it. Otherwise it is the last element of the path, if that can be a name, but it need not be,
// as in gopkg.in/yaml.v3.
func (c *compiler) packageName(of string) string {
	if c.packages == nil {
		c.packages = map[string]string{ownPackage: "mapper"}
		namePackages(c.root.src, c.packages, map[reflect.Type]bool{})
		namePackages(c.root.dst, c.packages, map[reflect.Type]bool{})
		delete(c.packages, c.caller())
	}
	if c.packages[of] == "" {
		c.packages[of] = lastElement(of)
	}
	return c.packages[of]
}

func lastElement(of string) string {
	name := path.Base(of)
	if version.MatchString(name) && strings.Contains(of, "/") {
		name = path.Base(path.Dir(of))
	}
	if !token.IsIdentifier(name) {
		return ""
	}
	return name
}

var version = regexp.MustCompile(`^v\d+$`)

// namePackages adds the packages of t, and of the types that it consists of, to names.
func namePackages(t reflect.Type, names map[string]string, seen map[reflect.Type]bool) {
	if t == nil || seen[t] {
		return
	}
	seen[t] = true
	if t.PkgPath() != "" {
		names[t.PkgPath()], _, _ = strings.Cut(t.String(), ".")
	}
	for _, of := range qualified.FindAllString(t.Name(), -1) {
		if p, _ := splitQualified(of); names[p] == "" {
			names[p] = lastElement(p)
		}
	}
	switch t.Kind() {
	case reflect.Map:
		namePackages(t.Key(), names, seen)
		namePackages(t.Elem(), names, seen)
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
		namePackages(t.Elem(), names, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			namePackages(t.Field(i).Type, names, seen)
		}
	case reflect.Func:
		for i := range t.NumIn() {
			namePackages(t.In(i), names, seen)
		}
		for i := range t.NumOut() {
			namePackages(t.Out(i), names, seen)
		}
	}
}

func (c *compiler) spellLiteral(t reflect.Type) (string, bool) {
	one := func(format string, t reflect.Type) (string, bool) {
		s, ok := c.spell(t)
		return fmt.Sprintf(format, s), ok
	}
	switch t.Kind() {
	case reflect.Pointer:
		return one("*%s", t.Elem())
	case reflect.Slice:
		return one("[]%s", t.Elem())
	case reflect.Array:
		return one(fmt.Sprintf("[%d]%%s", t.Len()), t.Elem())
	case reflect.Chan:
		return one(t.ChanDir().String()+" %s", t.Elem())
	case reflect.Map:
		k, ok := c.spell(t.Key())
		v, ok2 := c.spell(t.Elem())
		return "map[" + k + "]" + v, ok && ok2
	case reflect.Struct:
		return c.spellStruct(t)
	case reflect.Interface:
		return strings.ReplaceAll(t.String(), "interface {}", "any"), t.NumMethod() == 0
	case reflect.Func:
		return c.spellFunc(t)
	}
	return t.String(), false
}

func (c *compiler) spellFunc(t reflect.Type) (string, bool) {
	in, ok := c.spellList(t.NumIn(), func(i int) (string, reflect.Type) {
		if t.IsVariadic() && i == t.NumIn()-1 {
			return "...", t.In(i).Elem()
		}
		return "", t.In(i)
	})
	out, ok2 := c.spellList(t.NumOut(), func(i int) (string, reflect.Type) { return "", t.Out(i) })
	if t.NumOut() < 2 {
		out = out[1 : len(out)-1]
	}
	return strings.TrimSuffix("func"+in+" "+out, " "), ok && ok2
}

func (c *compiler) spellList(n int, at func(i int) (prefix string, t reflect.Type)) (string, bool) {
	types, all := make([]string, n), true
	for i := range types {
		prefix, t := at(i)
		s, ok := c.spell(t)
		types[i], all = prefix+s, all && ok
	}
	return "(" + strings.Join(types, ", ") + ")", all
}

func (c *compiler) spellStruct(t reflect.Type) (string, bool) {
	var fields []string
	for i := range t.NumField() {
		f := t.Field(i)
		typ, ok := c.spell(f.Type)
		if !ok || f.PkgPath != "" && f.PkgPath != c.caller() {
			return "", false
		}
		text := f.Name + " " + typ
		if f.Anonymous {
			text = typ
		}
		if f.Tag != "" {
			text += fmt.Sprintf(" %q", f.Tag)
		}
		fields = append(fields, text)
	}
	if len(fields) == 0 {
		return "struct{}", true
	}
	return "struct { " + strings.Join(fields, "; ") + " }", true
}

var ownPackage = reflect.TypeFor[pair]().PkgPath()

// caller is the import path of the package that asked for the plan.
func (c *compiler) caller() string {
	if c.home == "" {
		var pcs [64]uintptr
		frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
		for more := true; more && (c.home == "" || c.home == ownPackage || c.home == "sync"); { // plans in caches are built by a sync.Once
			var f runtime.Frame
			f, more = frames.Next()
			c.home = packageOf(f.Function)
		}
	}
	return c.home
}

// packageOf is the import path in a function's name.
func packageOf(function string) string {
	slash := strings.LastIndexByte(function, '/') + 1
	if bracket := strings.IndexByte(function, '['); bracket >= 0 {
		slash = strings.LastIndexByte(function[:bracket], '/') + 1
	}
	name, _, _ := strings.Cut(function[slash:], ".")
	return strings.ReplaceAll(function[:slash]+name, "%2e", ".")
}
