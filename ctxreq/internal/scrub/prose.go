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
	// proseValue is what follows the name of a secret in a sentence: password "x", token is x, key
	// (x).
	proseValue = lazy(`^(?:,?\s+(?i:is|was|of|value|got|given|provided|ist|lautet|es|est|é))?["']?(?:,?\s+value)?\s*[,:=]?\s*(?:"([^"]+)|'([^']+)|\x60([^\x60]+)|“([^”]+)|[(\[<{]?([^\s"'\x60()\[\]<>{},;]+))`)
	// userFlag is the argument of a command: -u user:password.
	userFlag = lazy(`(\s|^)(-u|--user)[\s=]+([^\s:]+:\S+)`)
	passFlag = lazy(`(\s|^)(-p)\s+(\S+)`)
	toolFlag = lazy(`(\b(?:mysql\w*|mariadb\w*|redis-cli|sshpass|docker login)\b[^\n]*?\s)(-p|-a\s+)\s*([^\s\-]\S*)`)
	sentCode = lazy(`(?i)(\bcode)(\s+(?:is\s+)?|:\s*)(\d{6,8}|[a-z\-]*\d[\w\-]{4,}|[\w\-]{4,}\d)\b`)
)

// Text scrubs prose, such as the text of an error: URLs as URL does, values that are assigned to a
// secret name, credentials, and what no person would write as a word. Prose cannot be listed, so a
// secret that looks like a word of the sentence is shown.
func (r Rules) Text(text string) string {
	text = urlInText().ReplaceAllStringFunc(text, r.urlText)
	text = between(text, r.targets)
	text = between(text, elements)
	text = between(text, assigned)
	text = between(text, flags)
	text = between(text, named)
	if suspicious(text) {
		text = credentialShape().ReplaceAllStringFunc(text, credentialText)
		text = licenseShape().ReplaceAllStringFunc(text, licenseText)
	}
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
		m := assigning().FindStringSubmatchIndex(text)
		if m == nil {
			return out.String() + text
		}
		name, from := text[m[2]:m[3]], m[1]
		words := strings.ToLower(name)
		if !secretName(name) && !(words == "key" || words == "code") {
			out.WriteString(text[:from])
			text = text[from:]
			continue
		}
		to := from + valueEnd(text[from:])
		if strings.HasSuffix(words, "authorization") || strings.HasSuffix(words, "cookie") {
			to = from + lineEnd(text[from:], to-from)
		}
		value := text[from:to]
		plain := strings.Trim(value, `\"'`)
		file := m[2] > 0 && text[m[2]-1] == '/' && strings.HasPrefix(text[m[3]:], ": ") // open /tls/server.key: EOF
		out.WriteString(text[:from])
		if file || strings.HasPrefix(value, "[hidden:") || absent[strings.ToLower(plain)] || !strings.ContainsFunc(plain, wordRune) ||
			!secretName(name) && !mixed(plain) {
			out.WriteString(value)
		} else {
			out.WriteString(Hidden(plain))
		}
		text = text[to:]
	}
}

// absent are the words that say that a secret is not there, or that it is bad.
var absent = words("none nil null missing required invalid expired empty unset denied failed malformed unknown unauthorized forbidden eof")

func wordRune(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

// assigning finds a name that is given a value: name=value, "name": value, \"name\": value,
// :name => value, name: invalid value.
var assigning = lazy(`([\pL\pM\pN_.\-]+)(?:\\*["'\x60])?\]?(?:\s*(?:=>|:=|->|\|->|=|：)\s*|\s*:(?:\s|\\[nrt])*)(?:(?i:(?:invalid |bad |wrong |unexpected )?(?:value|got|given|input)\s+))?`)

// valueEnd is where a value ends that text begins with. Quotes and brackets belong to it, up to
// their partners.
func valueEnd(text string) int {
	opening := strings.TrimLeft(text, `\`)
	depth := len(text) - len(opening)
	switch {
	case opening == "":
		return len(text)
	case strings.HasPrefix(opening, "[hidden:"):
		return depth + len(hiddenMark().FindString(opening))
	case strings.IndexByte("\"'\x60", opening[0]) >= 0:
		return quoteEnd(text, depth)
	case strings.IndexByte("[{(<", opening[0]) >= 0:
		return bracketEnd(text)
	}
	for open, shut := range otherQuotes {
		if strings.HasPrefix(opening, open) {
			if i := strings.Index(opening, shut); i > 0 {
				return depth + i + len(shut)
			}
			return len(text)
		}
	}
	end := strings.IndexAny(text, " \t\r\n\"'")
	if end < 0 {
		end = len(text)
	}
	if m := nextMember().FindStringIndex(text[:end]); m != nil {
		end = m[0]
	}
	return len(strings.TrimRight(text[:end], ",;:&)]}>.!"))
}

var otherQuotes = map[string]string{"“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "‘": "’"}

// nextMember is the beginning of another assignment behind a value.
var nextMember = lazy(`[,;&][\pL\pN_.\-]*[=:]`)

// quoteEnd is the end of a text that begins with a quote, behind depth backslashes. A quote with
// more backslashes before it is part of the text.
func quoteEnd(text string, depth int) int {
	quote := text[depth]
	for i := depth + 1; i < len(text); i++ {
		if text[i] != quote {
			continue
		}
		slashes := 0
		for j := i - 1; j > depth && text[j] == '\\'; j-- {
			slashes++
		}
		if slashes == depth || depth == 0 && slashes%2 == 0 {
			return i + 1
		}
	}
	return len(text)
}

// bracketEnd is the end of a text that begins with a bracket.
func bracketEnd(text string) int {
	open := 0
	for i := range len(text) {
		switch {
		case strings.IndexByte("[{(<", text[i]) >= 0:
			open++
		case strings.IndexByte("]})>", text[i]) >= 0:
			if open--; open == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// lineEnd is the end of the line of a header. In a map that is printed it ends with the bracket.
func lineEnd(text string, least int) int {
	if strings.HasPrefix(text, "[") {
		return least
	}
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return max(i, least)
	}
	return len(text)
}

// elements hides what an XML element with a secret name holds.
func elements(text string) string {
	return elementShape().ReplaceAllStringFunc(text, func(s string) string {
		m := elementShape().FindStringSubmatch(s)
		if strings.TrimSpace(m[3]) == "" || !secretName(m[2]) {
			return s
		}
		return m[1] + Hidden(m[3])
	})
}

var elementShape = lazy(`(<(?:[\w\-]+:)?([\pL\w.\-]+)(?:\s[^<>]*)?>)(?:<!\[CDATA\[)?([^<]+)`)

// targets scrubs paths after a word that announces a secret, and queries.
func (r Rules) targets(text string) string {
	text = queryInText().ReplaceAllStringFunc(text, func(s string) string { return "?" + r.Query(s[1:]) })
	return pathInText().ReplaceAllStringFunc(text, func(s string) string {
		segments, secret := strings.Split(s, "/"), false
		if roots[segments[1]] {
			return s
		}
		for i, seg := range segments[1:] {
			if secret && !afterSecret[strings.ToLower(seg)] && !strings.Contains(seg, ".") && seg != "" {
				segments[i+1] = Hidden(seg)
			}
			secret = secret || secretSegment(seg)
		}
		return strings.Join(segments, "/")
	})
}

// roots begin the paths of files, which hold no secret.
var roots = words("Applications Library Users app bin boot data dev etc home lib lib64 media mnt opt private proc root run sbin srv sys tmp usr var workspace")

var (
	queryInText = lazy(`\?[\w.\-\[\]%]+=[^\s"'<>\x60]*`)
	pathInText  = lazy(`(?:^|[\s"'(=\x60])/[\w\-.~%+]+(?:/[\w\-.~%+@:,;=!$]+)+`)
)

// licenseText hides a license key, but not the blank or the bracket around it.
func licenseText(s string) string {
	key := strings.TrimFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	if !hasDigit(key) && !gibberish(strings.Split(key, "-")) {
		return s
	}
	return strings.Replace(s, key, Hidden(key), 1)
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
	var out strings.Builder
	at, before := 0, ""
	for {
		m := proseWord().FindStringIndex(text[at:])
		if m == nil {
			break
		}
		word, end := strings.ToLower(text[at+m[0]:at+m[1]]), at+m[1]
		secret := secretName(word) || word == "key" && keyKinds[before] || word == "code" && codeKinds[before] || word == "phrase" && before == "pass"
		flag := word[0] == '-' && strings.HasPrefix(text[end:], " ")
		at, before = end, word
		if !secret || end < len(text) && end > len(word) && text[end-len(word)-1] == '/' && text[end] == ':' { // a file
			continue
		}
		v := proseValue().FindStringSubmatchIndex(text[end:])
		if v == nil {
			continue
		}
		from, to, quoted := submatch(v)
		to = from + len(strings.TrimRight(text[end+from:end+to], ":.,!?"))
		value, lead := text[end+from:end+to], strings.TrimSpace(text[end:end+from])
		switch low := strings.ToLower(value); {
		case quoted && len(value) > 2:
		case quoted, plainState(low) && !mixed(value):
			continue
		case flag || bracketed(lead) || strings.HasSuffix(lead, ":"):
			if bracketed(lead) {
				to = from + strings.IndexAny(text[end+from:]+"]", "]})>")
			}
		case !mixed(value) && !linking[strings.ToLower(strings.Trim(lead, ", "))]:
			continue
		}
		out.WriteString(text[:end+from] + Hidden(text[end+from:end+to]))
		text, at = text[end+to:], 0
	}
	return out.String() + text
}

// plainState reports whether a word after the name of a secret is no value: token expired, the
// password is too short.
func plainState(w string) bool { return afterName[w] || states[w] || absent[w] }

// states are the words that say how something is.
var states = words(`able absent active allowed already also always available bad blank blocked broken busy cancelled closed complete compromised configured
	correct corrupt created dead deleted denied disabled done due duplicate either enabled encrypted exhausted expected few fine found full gone good
	hidden identical ignored inactive incomplete inconsistent insecure known large late legal let likely locked long low malformed mandatory
	matched missed neither nil none nonexistent null obsolete ok okay one open optional outdated over part pending permitted plain present private
	public read ready recognized registered removed replaced reserved restricted returned reused right safe saved secret secure short shown sent signed
	small stale still strong such supplied supported synced taken tampered temporary terminated there true false two unavailable unchanged
	undefined unexpected uninitialized unique unknown unmodified unreachable unreadable unset unsigned unsupported unusable unverified used
	verified weak worn written false zero`)

// bracketed reports whether what stands between a name and its value ends with a bracket.
func bracketed(s string) bool { return s != "" && strings.IndexByte("<[{", s[len(s)-1]) >= 0 }

// flags hides the arguments of commands that take a password.
func flags(text string) string {
	always := func(string) bool { return true }
	text = flag(userFlag(), text, always)
	text = flag(toolFlag(), text, always)
	text = flag(passFlag(), text, mixed)
	return flag(sentCode(), text, always)
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
		if value := s[m[6]:m[7]]; bad(value) && !strings.HasPrefix(value, "[hidden:") {
			return s[:m[6]] + Hidden(value) + s[m[7]:]
		}
		return s
	})
}

// keyKinds are the words before "key" that make it a secret in a sentence.
var keyKinds = words(`api access secret private signing encryption license licence account shared master auth app service
	webhook client stream`)

// codeKinds are the words before "code" that make it a secret in a sentence.
var codeKinds = words("pin verification security access auth authentication authorization otp login reset confirmation recovery backup invite invitation one-time sms tan mfa 2fa")

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
