package scrub

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"
)

var formShape = lazy(`^[\w.\-\[\]%+]+=[^\s&]*(&[\w.\-\[\]%+]+=[^\s&]*)*&?$`)

// Body shows the beginning of a body. JSON and forms keep their text but for the values that are
// hidden; a multipart form shows the names of its parts; anything else is hidden.
func (r Rules) Body(contentType string, body []byte) string {
	text := string(body)
	media, params, _ := mime.ParseMediaType(contentType)
	switch start := strings.TrimLeft(text, " \t\r\n"); {
	case text == "":
		return ""
	case start != "" && (start[0] == '{' || start[0] == '['):
		return r.json(text)
	case formShape().MatchString(text):
		return r.Query(text)
	case strings.HasPrefix(media, "multipart/") && params["boundary"] != "":
		return r.multipart(text, params["boundary"])
	}
	return Hidden(text)
}

// multipart lists the parts.
func (r Rules) multipart(text, boundary string) string {
	var out []string
	for i, part := range strings.Split("\r\n"+text, "\r\n--"+boundary) {
		if i == 0 || strings.HasPrefix(part, "--") {
			continue
		}
		head, content, _ := strings.Cut(strings.TrimPrefix(part, "\r\n"), "\r\n\r\n")
		name := "part"
		for line := range strings.SplitSeq(head, "\r\n") {
			key, value, _ := strings.Cut(line, ":")
			if !strings.EqualFold(key, "Content-Disposition") {
				continue
			}
			if _, params, err := mime.ParseMediaType(value); err == nil && params["name"] != "" {
				name = params["name"]
			}
		}
		out = append(out, Name(name)+"="+r.value(name, content))
	}
	return strings.Join(out, "\r\n")
}

// json replaces the values that must not be shown. It copes with a text that is cut anywhere.
func (r Rules) json(text string) string {
	s := jsonScanner{rules: r, text: text}
	for s.space(); s.at < len(s.text); s.space() {
		if !s.value(place{}, 0) {
			if rest := s.text[s.at:]; rest != "" {
				s.out.WriteString(Hidden(rest))
			}
			break
		}
	}
	return s.out.String()
}

type jsonScanner struct {
	rules Rules
	text  string
	at    int
	out   strings.Builder
}

// copyTo takes over the text up to end as it is.
func (s *jsonScanner) copyTo(end int) { s.out.WriteString(s.text[s.at:end]); s.at = end }

func (s *jsonScanner) space() {
	end := s.at
	for end < len(s.text) && strings.IndexByte(" \t\r\n", s.text[end]) >= 0 {
		end++
	}
	s.copyTo(end)
}

// next takes over one of the bytes in set, and returns it or 0.
func (s *jsonScanner) next(set string) byte {
	s.space()
	if s.at == len(s.text) || strings.IndexByte(set, s.text[s.at]) < 0 {
		return 0
	}
	c := s.text[s.at]
	s.copyTo(s.at + 1)
	return c
}

const maxDepth = 64

// A place is where a value is: its name, and what the objects around it say.
type place struct {
	name   string
	inside string // the name of a secret that the value is part of
}

// of is the name that the lists are asked for: within a secret that is its name too.
func (p place) of() string { return within(p.inside, p.name) }

// within is the name of a part of a value. A part of a secret has the secret's name before its own.
func within(secret, name string) string {
	if secret == "" || secret == name {
		return name
	}
	return secret + "." + name
}

// value scrubs the value of name. It returns false at the end of the text and where it is no JSON.
func (s *jsonScanner) value(p place, depth int) bool {
	switch s.space(); {
	case s.at == len(s.text) || depth > maxDepth:
		return false
	case s.text[s.at] == '{':
		return s.object(p, depth)
	case s.text[s.at] == '[':
		return s.array(p, depth)
	case s.text[s.at] == '"':
		raw, plain, whole := s.str()
		s.show(p.of(), raw, plain, whole)
		return whole
	}
	end := s.at
	for end < len(s.text) && strings.IndexByte(" \t\r\n,]}", s.text[end]) < 0 {
		end++
	}
	raw := s.text[s.at:end]
	if !json.Valid([]byte(raw)) {
		return false
	}
	s.show(p.of(), raw, raw, end < len(s.text))
	return true
}

// show writes a scalar as it is, or its replacement if it is hidden.
func (s *jsonScanner) show(name, raw, plain string, whole bool) {
	s.at += len(raw)
	if shown := s.rules.value(name, plain); whole && shown == plain {
		s.out.WriteString(raw)
	} else if whole && !strings.HasPrefix(shown, "[hidden:") {
		fmt.Fprintf(&s.out, "%q", shown)
	} else {
		fmt.Fprintf(&s.out, "%q", Hidden(plain))
	}
}

// str reads a string at the current position without moving it. It returns the text with its
// quotes, the decoded value, and whether the string is complete.
func (s *jsonScanner) str() (raw, plain string, whole bool) {
	rest := s.text[s.at:]
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			raw = rest[:i+1]
			if json.Unmarshal([]byte(raw), &plain) != nil || !utf8.ValidString(raw) {
				return raw, raw, false
			}
			return raw, plain, true
		}
	}
	return rest, rest[1:], false
}

// object scrubs an object. An object such as {"name":"password","text":"x"} is part of a secret.
func (s *jsonScanner) object(p place, depth int) bool {
	if p.inside == "" && secretName(p.name) {
		p.inside = p.name
	}
	if p.inside == "" {
		p.inside = s.namedSecret()
	}
	s.copyTo(s.at + 1)
	if s.next("}") != 0 {
		return true
	}
	for {
		if s.space(); s.at == len(s.text) || s.text[s.at] != '"' {
			return false
		}
		raw, name, whole := s.str()
		if !whole {
			return false
		}
		s.at += len(raw)
		if nameLike(name) {
			s.out.WriteString(raw)
		} else {
			fmt.Fprintf(&s.out, "%q", Hidden(name))
		}
		p.name = name
		if s.next(":") == 0 || !s.value(p, depth+1) {
			return false
		}
		switch s.next(",}") {
		case 0:
			return false
		case '}':
			return true
		}
	}
}

func (s *jsonScanner) array(p place, depth int) bool {
	s.copyTo(s.at + 1)
	if s.next("]") != 0 {
		return true
	}
	for {
		if !s.value(p, depth+1) {
			return false
		}
		switch s.next(",]") {
		case 0:
			return false
		case ']':
			return true
		}
	}
}

// pairShape finds the members of an object that may name its value: "name":"password".
var pairShape = lazy(`"(?i:name|key|field|id|type|param|parameter|header|label|property|attribute|variable|kind)"\s*:\s*"([^"\\]{2,40})"`)

// namedSecret returns the name of a secret that a member of the object at the current position has
// as its value. It looks no further than to the end of the object, or to the first one inside.
func (s *jsonScanner) namedSecret() string {
	flat := s.text[s.at+1:]
	if end := strings.IndexAny(flat, "{}"); end >= 0 {
		flat = flat[:end]
	}
	for _, m := range pairShape().FindAllStringSubmatch(flat, -1) {
		if secretName(m[1]) && plainSegment(m[1]) {
			return m[1]
		}
	}
	return ""
}
