// Package scrub decides what a report may show of a request.
//
// What is shown is listed, everything else is hidden. A value is shown if its name is in one of
// the lists of names.go and the value has the form that belongs to the name, if it is too small to
// be a secret (empty, true, false, null, one digit), or if Rules.Show says so. A hidden value
// leaves its kind and its length in bytes: [hidden:uuid:36]. Names are shown.
//
// A value that has the shape of a credential (a JWT, a vendor's token, a URL with a password) is
// hidden whatever its name is, and whatever Rules.Show says.
//
// The package is pure: text in, text out. Every string it returns is a copy.
package scrub

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Rules are the caller's additions to the lists. Both functions may be nil. They get the name of a
// header, cookie, parameter, field or key as the client wrote it, and the decoded value.
type Rules struct {
	Show func(name, value string) bool // show what is not listed
	Hide func(name, value string) bool // hide what is listed; it wins over Show
}

// Hidden returns the text that replaces a hidden value.
func Hidden(value string) string {
	return fmt.Sprintf("[hidden:%s:%d]", kind(value), len(value))
}

// value shows the value of a header, parameter or field, or hides it.
func (r Rules) value(name, value string) string {
	if r.shows(name, value, fieldForm(name)) {
		return strings.Clone(value)
	}
	if scrubbed, ok := r.address(name, value); ok {
		return scrubbed
	}
	return Hidden(value)
}

// shows reports whether a value may be shown. f is the form listed for its name, or nil.
func (r Rules) shows(name, value string, f form) bool {
	if r.Hide != nil && r.Hide(name, value) {
		return false
	}
	if tiny(value) {
		return true
	}
	if credential(value) {
		return false
	}
	return f != nil && f(value) || r.Show != nil && r.Show(name, value)
}

// address scrubs the value of a name that is listed as a URL or a path.
func (r Rules) address(name, value string) (string, bool) {
	if !addressNames[strings.Join(nameWords(name), "-")] || r.Hide != nil && r.Hide(name, value) {
		return "", false
	}
	u, err := url.Parse(value)
	if err != nil || u.Opaque != "" || u.Host == "" && !strings.Contains(u.Path, "/") && u.Path != "" {
		return "", false
	}
	return r.URL(u, "").String(), true
}

// Name shows a name, unless it looks like a value that was put in its place.
func Name(name string) string {
	if nameLike(name) {
		return strings.Clone(name)
	}
	return Hidden(name)
}

// Header shows one value of a header.
func (r Rules) Header(name, value string) string {
	switch words := strings.Join(nameWords(name), "-"); {
	case words == "cookie" || words == "set-cookie":
		return r.cookies(name, value)
	case words == "host":
		return r.host(name, value)
	case words == "content-type":
		return r.parameters(value, mediaType)
	case words == "content-disposition":
		return r.parameters(value, disposition)
	case headerForms[words] != nil:
		if r.shows(name, value, headerForms[words]) {
			return strings.Clone(value)
		}
		return Hidden(value)
	}
	return r.value(name, value)
}

// host shows a host name. Some services put a token into its first label.
func (r Rules) host(name, value string) string {
	if value == "" || r.shows(name, value, hostName) {
		return strings.Clone(value)
	}
	return Hidden(value)
}

// cookies shows the names of the cookies of a line, and the values of a few.
func (r Rules) cookies(header, line string) string {
	if r.Hide != nil && r.Hide(header, line) {
		return Hidden(line)
	}
	parts := strings.Split(line, ";")
	for i, part := range parts {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case !ok && name != "":
			parts[i] = Hidden(name)
		case ok && r.shows(name, value, cookieForms[strings.Join(nameWords(name), "-")]):
			parts[i] = Name(name) + "=" + value
		case ok:
			parts[i] = Name(name) + "=" + Hidden(value)
		}
	}
	return strings.Clone(strings.Join(parts, "; "))
}

// parameters shows a value such as "text/html; charset=utf-8". first is the form of what stands
// before the parameters.
func (r Rules) parameters(value string, first form) string {
	parts := splitQuoted(value, ';')
	for i, part := range parts {
		part = strings.TrimSpace(part)
		name, v, ok := strings.Cut(part, "=")
		switch {
		case i == 0 && first(part), part == "":
			parts[i] = part
		case i > 0 && ok:
			parts[i] = Name(name) + "=" + r.value(name, strings.Trim(v, `"`))
		default:
			parts[i] = Hidden(part)
		}
	}
	return strings.Clone(strings.Join(parts, "; "))
}

var disposition = oneOf("form-data attachment inline")

// URL returns a copy of u without its user, with a scrubbed path, query and fragment. pattern is
// the route that matched it, as in http.Request.Pattern, or empty.
func (r Rules) URL(u *url.URL, pattern string) *url.URL {
	clean := &url.URL{Scheme: strings.Clone(u.Scheme), Host: r.host("Host", u.Host), RawQuery: r.Query(u.RawQuery)}
	if u.Host == "" {
		clean.Host = ""
	}
	if u.User != nil {
		clean.User = url.User("hidden")
	}
	if u.Opaque != "" {
		clean.Opaque = Hidden(u.Opaque)
	}
	clean.Path = r.Path(u.Path, pattern)
	clean.RawPath = escapePath(clean.Path)
	if u.Fragment != "" {
		clean.Fragment = r.Query(u.EscapedFragment())
		clean.RawFragment = clean.Fragment
	}
	return clean
}

// escapePath escapes a path for URL.RawPath, but leaves the brackets of what is hidden.
func escapePath(path string) string {
	escaped := (&url.URL{Path: path}).EscapedPath()
	return strings.NewReplacer("%5B", "[", "%5D", "]", "%7B", "{", "%7D", "}").Replace(escaped)
}

// Path shows the segments of a path that the pattern of its route names, and those that are plain
// words. A variable segment is shown as the pattern has it: {id}.
func (r Rules) Path(path, pattern string) string {
	if r.Hide != nil && path != "" && r.Hide("path", path) {
		return "/" + Hidden(path)
	}
	segments := strings.Split(path, "/")
	matched := matchPattern(segments, pattern)
	secret := false // the segment before says that this one may be a secret
	for i, s := range segments {
		literal := i < matched.literal
		switch {
		case i < len(matched.names) && matched.names[i] != "":
			segments[i] = matched.names[i]
		case literal:
		case s == "" || tiny(s) && !secret:
		case secret && !afterSecret[strings.ToLower(s)]:
			segments[i] = Hidden(s)
		case !plainSegment(s), credential(s), strings.Contains(s, ",") && secretSegment(s):
			segments[i] = Hidden(s)
		}
		secret = secret && !literal || s != "" && secretSegment(s)
	}
	if matched.rest > 0 {
		segments = append(segments[:matched.rest+1:matched.rest+1], matched.tail...)
	}
	return strings.Clone(strings.Join(segments, "/"))
}

// matched says which segments of a path correspond to parts of a pattern.
type matched struct {
	names   []string // by segment: the variable, as it is to be shown
	literal int      // segments before this one are the pattern's own words
	rest    int      // this segment and all that follow are replaced; 0 is none
	tail    []string // what follows then
	whole   bool     // the pattern matches the path from its first segment to its last
}

// matchPattern lines up a path with a pattern: "GET host/users/{id}" of net/http and gorilla/mux,
// "/users/:id" and "/files/*path" of gin and echo. A pattern of a router below another handler
// (http.StripPrefix) matches the end of the path.
func matchPattern(path []string, pattern string) matched {
	if i := strings.LastIndexByte(pattern, ' '); i >= 0 {
		pattern = pattern[i+1:]
	}
	i := strings.IndexByte(pattern, '/')
	if i < 0 {
		return matched{}
	}
	want := strings.Split(pattern[i:], "/")
	if len(want) > 2 && want[len(want)-1] == "" && path[len(path)-1] != "" {
		want = want[:len(want)-1] // a subtree, or a router that ignores the last slash
	}
	end := len(path) - len(want)
	for _, from := range []int{0, end} {
		if m, ok := matchFrom(path, max(from, 0), want[1:]); ok && (m.whole || from == end) {
			return m
		}
	}
	for from := range path {
		if m, ok := matchFrom(path, from, want[1:]); ok {
			return m
		}
	}
	return matched{}
}

// matchFrom matches the segments of path after from.
func matchFrom(path []string, from int, want []string) (m matched, ok bool) {
	m.names = make([]string, len(path))
	for i, w := range want {
		at := from + 1 + i
		more := i == len(want)-1 || len(path)-from-1 > len(want)
		switch {
		case at == len(path):
			return m, w == "" || w == "{$}" || isRest(w, false)
		case w == "{$}", w == "" && i == len(want)-1: // the end, or everything below
			m.reach(from, i)
			m.whole = from == 0
			return m, true
		case isRest(w, more):
			m.reach(from, i+1)
			m.names[at], m.rest, m.tail, m.whole = w, at, want[i+1:], from == 0
			return m, true
		case w != path[at] && strings.ContainsAny(w, "{:*") && path[at] != "":
			m.names[at] = w
		case w != path[at] && !strings.EqualFold(w, path[at]):
			return m, false
		}
	}
	m.reach(from, len(want))
	m.whole = from == 0 && len(path) == 1+len(want)
	return m, from == 0 || from+1+len(want) == len(path)
}

// reach says that n segments of the pattern match those of the path after from.
func (m *matched) reach(from, n int) {
	if from == 0 {
		m.literal = 1 + n
	}
}

// isRest reports whether a variable matches several segments: {path...}, *path, and {path:.*} if
// there are more segments than the pattern has.
func isRest(w string, more bool) bool {
	return strings.HasSuffix(w, "...}") || strings.HasPrefix(w, "*") || more && strings.HasPrefix(w, "{") && strings.Contains(w, ":") && strings.ContainsAny(w, "*+")
}

// Query scrubs a query or a form, and keeps its order and its escapes.
func (r Rules) Query(query string) string {
	if query == "" {
		return ""
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		plainName, err1 := url.QueryUnescape(name)
		plain, err2 := url.QueryUnescape(value)
		switch {
		case pair == "":
		case err1 != nil || err2 != nil:
			pairs[i] = Hidden(pair)
		case !ok:
			if !shortWord(plainName) {
				pairs[i] = Hidden(plainName)
			}
		default:
			pairs[i] = r.pair(name, value, plainName, plain)
		}
	}
	return strings.Clone(strings.Join(pairs, "&"))
}

// pair shows one parameter: what is shown keeps its escapes.
func (r Rules) pair(name, value, plainName, plain string) string {
	if !nameLike(plainName) {
		name = Hidden(plainName)
	}
	switch shown := r.value(plainName, plain); {
	case shown == plain:
		return name + "=" + value
	case strings.HasPrefix(shown, "[hidden:"):
		return name + "=" + shown
	default:
		return name + "=" + url.QueryEscape(shown)
	}
}

// RequestID shows an id that a client sent, and returns "" if it is not fit for a log.
func RequestID(id string) string {
	if len(id) > 128 || credential(id) {
		return ""
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c >= 0x7f || c == '"' {
			return ""
		}
	}
	return id
}

var (
	// assignment finds names that are given a value: name=value, "name": value.
	assignment = lazy(`([\pL\pN_.\-]+)(["']?\]?\s*[=:]\s*)("[^"]*"?|'[^']*'?|[^\s,;&"'()\]}]+)`)
	// atom is a run that a person would take for one word.
	atom = lazy(`[\pL\pN_\-+=~]{6,}`)
)

// tiny reports whether a value is too small to be a secret.
func tiny(v string) bool {
	switch v {
	case "", "true", "false", "null", "True", "False", "TRUE", "FALSE":
		return true
	}
	return len(v) == 1 && (v[0] >= '0' && v[0] <= '9')
}

// kind says in one word what a hidden value looks like.
func kind(v string) string {
	switch {
	case jwtShape().MatchString(v):
		return "jwt"
	case uuidShape().MatchString(v):
		return "uuid"
	case numberShape().MatchString(v):
		return "number"
	case len(v) >= 16 && hexShape().MatchString(v):
		return "hex"
	case strings.Contains(v, "://"):
		return "url"
	case v != "" && (v[0] == '{' || v[0] == '['):
		return "json"
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' }):
		return "binary"
	case lettersOnly(v):
		return "word"
	case strings.ContainsAny(v, " \t\r\n<>"):
		return "text"
	}
	return "token"
}
