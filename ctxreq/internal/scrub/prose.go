package scrub

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	urlInText  = lazy(`[a-zA-Z][a-zA-Z0-9+.\-]*://[^\s"'<>\x60]+`)
	hiddenMark = lazy(`\[hidden:[a-z]+:\d+\]`)
	pointer    = lazy(`^0x[0-9a-f]{1,16}$`)

	proseWord = lazy(`[\pL\pM\pN_\-]+`)
	// proseValue is what follows the name of a secret in a sentence: password "x", token is x, key (x).
	proseValue = lazy(`^(?:\s+(?i:is|was|of|value|got|given))?\s*[:=]?\s*(?:"([^"]+)|'([^']+)|\x60([^\x60]+)|“([^”]+)|[(\[<{]?([^\s"'\x60()\[\]<>{},;]+))`)
	// userFlag is the argument of a command: -u user:password.
	userFlag = lazy(`(\s|^)(-u|--user)[\s=]+([^\s:]+:\S+)`)
	passFlag = lazy(`(\s|^)(-p)\s+(\S+)`)
	sentCode = lazy(`(?i)(\bcode)(\s+(?:is\s+)?|:\s*)(\d{6,8})\b`)
)

// Text scrubs prose, such as the text of an error: URLs as URL does, values that are assigned to a
// secret name, credentials, and what no person would write as a word. Prose cannot be listed, so a
// secret that looks like a word of the sentence is shown.
func (r Rules) Text(text string) string {
	text = urlInText().ReplaceAllStringFunc(text, r.urlText)
	text = between(text, assigned)
	text = between(text, named)
	text = credentialShape().ReplaceAllStringFunc(text, credentialText)
	text = atom().ReplaceAllStringFunc(text, func(s string) string {
		if !opaque(s) || pointer().MatchString(s) {
			return s
		}
		return Hidden(s)
	})
	return strings.Clone(strings.ToValidUTF8(text, "\uFFFD"))
}

// between applies f to the text around what is hidden already.
func between(text string, f func(string) string) string {
	var out strings.Builder
	at := 0
	for _, m := range hiddenMark().FindAllStringIndex(text, -1) {
		out.WriteString(f(text[at:m[0]]) + text[m[0]:m[1]])
		at = m[1]
	}
	return out.String() + f(text[at:])
}

// assigned hides the values of secret names. The value of a header that carries credentials ends
// with the line.
func assigned(text string) string {
	var out strings.Builder
	for {
		m := assignment().FindStringSubmatchIndex(text)
		if m == nil {
			return out.String() + text
		}
		name, from, to := text[m[2]:m[3]], m[6], m[7]
		if !secretName(name) {
			out.WriteString(text[:from])
			text = text[from:]
			continue
		}
		if words := strings.ToLower(name); strings.HasSuffix(words, "authorization") || strings.HasSuffix(words, "cookie") {
			if to = strings.IndexByte(text[from:], '\n') + from; to < from {
				to = len(text)
			}
		}
		out.WriteString(text[:from] + Hidden(strings.Trim(text[from:to], `"'`)))
		text = text[to:]
	}
}

// credentialText hides a credential, but not "token expired" or "digest mismatch".
func credentialText(s string) string {
	if scheme, value, ok := strings.Cut(s, " "); ok && !strings.EqualFold(scheme, "bearer") && plainWord(value) && strings.ToLower(value) == value {
		return s
	}
	return Hidden(s)
}

// named hides what a sentence gives as the value of a secret: everything in quotes after the name,
// and otherwise what no word of a sentence looks like.
func named(text string) string {
	text = flag(userFlag(), text, func(string) bool { return true })
	text = flag(passFlag(), text, mixed)
	text = flag(sentCode(), text, func(string) bool { return true })
	var out strings.Builder
	at, before := 0, ""
	for {
		m := proseWord().FindStringIndex(text[at:])
		if m == nil {
			break
		}
		word, end := strings.ToLower(text[at+m[0]:at+m[1]]), at+m[1]
		secret := secretName(word) || word == "key" && keyKinds[before]
		at, before = end, word
		if !secret {
			continue
		}
		v := proseValue().FindStringSubmatchIndex(text[end:])
		if v == nil {
			continue
		}
		from, to, quoted := submatch(v)
		if value := text[end+from : end+to]; quoted && len(value) > 2 || !quoted && mixed(value) {
			out.WriteString(text[:end+from] + Hidden(value))
			text, at = text[end+to:], 0
		}
	}
	return out.String() + text
}

// submatch returns where the value is, and whether it is in quotes.
func submatch(v []int) (from, to int, quoted bool) {
	for i := 2; i < len(v); i += 2 {
		if v[i] >= 0 {
			return v[i], v[i+1], i < len(v)-2
		}
	}
	return v[0], v[1], false
}

// flag hides the third group of expr if it is bad.
func flag(expr *regexp.Regexp, text string, bad func(string) bool) string {
	return expr.ReplaceAllStringFunc(text, func(s string) string {
		m := expr.FindStringSubmatchIndex(s)
		if value := s[m[6]:m[7]]; bad(value) {
			return s[:m[6]] + Hidden(value) + s[m[7]:]
		}
		return s
	})
}

// keyKinds are the words before "key" that make it a secret in a sentence.
var keyKinds = words(`api access secret private signing encryption license licence account shared master auth app service
	webhook client stream`)

// mixed reports whether a run is no word: a number of four digits or more, or letters with digits.
func mixed(s string) bool {
	digits, letters := 0, 0
	for _, c := range s {
		switch {
		case unicode.IsDigit(c):
			digits++
		case unicode.IsLetter(c):
			letters++
		}
	}
	if letters == 0 {
		return digits >= 4
	}
	return digits > 0 && utf8.RuneCountInString(s) >= 4 && !versionShape().MatchString(s)
}

// urlText scrubs a URL found in prose; punctuation may follow it.
func (r Rules) urlText(s string) string {
	end := strings.TrimRight(s, ".,;:!?)]}")
	u, err := url.Parse(end)
	if err != nil {
		return Hidden(end) + s[len(end):]
	}
	return r.URL(u, "").String() + s[len(end):]
}
