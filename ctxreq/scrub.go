package ctxreq

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// hidden replaces what a report must not show.
const hidden = "[hidden]"

// A name is split into words at punctuation and at capitals: "X-Custom-Pin" is
// x, custom, pin and "accessToken" is access, token. A name is secret if one of
// its words is in secretWords, or if the words together end in one of
// secretEndings. Looking for substrings instead would hide X-Author and
// X-Spinner, and a list of whole names would let X-Custom-Pin through.
var secretWords = wordSet(`
	auth authentication authn authorization authz bearer
	cookie cookies credential credentials creds csrf xsrf
	jwt jws jwe saml assertion
	token tokens secret secrets passphrase passcode pass password passwords passwd pwd pin
	otp totp mfa session sessions sess sid
	apikey sig signature hmac
	cvc cvv ssn iban`)

var secretEndings = strings.Fields(`
	accesskey apikey authorization clientkey cookie credential credentials csrf
	encryptionkey jwt masterkey passcode passphrase passwd password passwords
	privatekey secret secretkey secrets sessid sessionid signature signingkey
	token tokens userpass xsrf cardnumber`)

// harmlessKeys are the words before "key" that make it no secret.
var harmlessKeys = wordSet("cache exp idempotency map partition primary public routing sort surrogate websocket")

func wordSet(s string) map[string]bool {
	set := make(map[string]bool)
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}

// secretName reports whether the value of a header, cookie or parameter of
// this name has to be hidden.
func secretName(name string) bool {
	if strings.EqualFold(name, "code") { // of OAuth
		return true
	}
	words := words(name)
	if slices.ContainsFunc(words, func(w string) bool { return secretWords[w] }) {
		return true
	}
	if n := len(words); n > 0 && words[n-1] == "key" {
		return n == 1 || !harmlessKeys[words[n-2]]
	}
	all := strings.Join(words, "")
	return slices.ContainsFunc(secretEndings, func(e string) bool { return strings.HasSuffix(all, e) })
}

// words splits a name at everything but letters and digits, and before a
// capital that follows a small letter or begins a capitalized word.
func words(name string) []string {
	var list []string
	runes := []rune(name)
	start := 0
	cut := func(end int) {
		if end > start {
			list = append(list, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			cut(i)
			start = i + 1
		case i > start && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			cut(i)
		}
	}
	cut(len(runes))
	return list
}

// secretShape matches values that are credentials whatever they are called.
var secretShape = regexp.MustCompile(`(?i:\b(?:bearer|basic|digest|negotiate|ntlm|dpop)\s+\S)` +
	`|eyJ[\w-]{4,}\.[\w-]{4,}` + // JWT: base64 of {"
	`|\b(?:gh[oprsu]_|github_pat_|glpat-|sk_live_|sk_test_|rk_live_|sk-|xox[abeoprs]-|AKIA|ASIA|AIza|ya29\.|SG\.|npm_|pypi-|hf_|shpat_|whsec_)[\w-]{8}` +
	`|-----BEGIN [A-Z ]*PRIVATE KEY` +
	`|://[^/\s:@]*:[^/\s@]+@`)

// assignment finds names that are given a value: name=value, "name": value.
var assignment = regexp.MustCompile(`([\w.\-\[\]]+)["']?\s*[=:]`)

// secretText reports whether text holds a credential by its shape, or assigns
// one to a secret name, also percent-encoded inside of something else.
func secretText(text string) bool {
	for range 3 {
		if secretShape.MatchString(text) {
			return true
		}
		for _, m := range assignment.FindAllStringSubmatch(text, -1) {
			if secretName(m[1]) {
				return true
			}
		}
		plain, err := url.QueryUnescape(text)
		if err != nil || plain == text {
			return false
		}
		text = plain
	}
	return true // more layers than an honest client packs
}

func (c *Config) hides(name, value string) bool {
	return secretName(name) || c.Hide != nil && c.Hide(name, value)
}

// scrub returns a copy of a header's or a key's value, fit to be shown.
func (c *Config) scrub(name, value string) string {
	switch {
	case strings.EqualFold(name, "Cookie") && (c.Hide == nil || !c.Hide(name, value)):
		return c.scrubCookies(value)
	case c.hides(name, value):
		return hidden
	}
	if before, query, ok := strings.Cut(value, "?"); ok && !secretText(before) {
		return before + "?" + c.scrubPairs(query) // a URL, as in Referer
	}
	if secretText(value) {
		return hidden
	}
	return strings.Clone(value)
}

// longestCookie is how long a cookie with a harmless name may be to be shown:
// sessions have any name, but are never that short.
const longestCookie = 15

func (c *Config) scrubCookies(line string) string {
	cookies := strings.Split(line, ";")
	for i, cookie := range cookies {
		name, value, ok := strings.Cut(strings.TrimSpace(cookie), "=")
		switch {
		case !ok && (len(name) > longestCookie || secretText(name)):
			cookies[i] = hidden
		case ok && (len(value) > longestCookie || c.hides(name, value) || secretText(value)):
			cookies[i] = name + "=" + hidden
		default:
			cookies[i] = strings.TrimSpace(cookie)
		}
	}
	return strings.Clone(strings.Join(cookies, "; ")) // Join returns a lone one as it is
}

// scrubPairs scrubs a query, keeping its order and its escapes.
func (c *Config) scrubPairs(query string) string {
	if query == "" {
		return ""
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		switch {
		case err != nil || secretText(name):
			pairs[i] = hidden
		case ok && (c.hides(plain, value) || secretText(value)):
			pairs[i] = name + "=" + hidden
		}
	}
	return strings.Clone(strings.Join(pairs, "&"))
}

// scrubPath hides segments that are credentials by shape, and long ones that
// follow a secret name, as in /password-reset/9f86d081884c7d65.
func (c *Config) scrubPath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if secretText(s) || i > 0 && len(s) >= 12 && strings.ContainsAny(s, "0123456789") && secretName(segments[i-1]) {
			segments[i] = hidden
		}
	}
	return strings.Clone(strings.Join(segments, "/"))
}

// word finds everything that could be a name in a body of any format.
var word = regexp.MustCompile(`[\w.\-]+`)

// scrubBody shows a body only if it mentions no secret at all: its format is
// not known, and it is cut anywhere.
func (c *Config) scrubBody(body []byte) string {
	text := string(body)
	if secretText(text) || slices.ContainsFunc(word.FindAllString(text, -1), func(name string) bool { return c.hides(name, "") }) {
		return fmt.Sprintf("[hidden: %d bytes that mention a secret]", len(body))
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
