package scrub

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// A form says whether a value is what its name promises.
type form func(value string) bool

func matches(expr string) form {
	re := lazy(`^(?:` + expr + `)$`)
	return func(v string) bool { return len(v) <= 512 && re().MatchString(v) }
}

// lazy compiles an expression at its first use: programs that scrub nothing do not pay for it.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var (
	jwtShape    = lazy(`^eyJ[\w-]+\.[\w-]+`)
	uuidShape   = lazy(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	numberShape = lazy(`^[-+]?[0-9]+([.,][0-9]+)*$`)
	hexShape    = lazy(`^[0-9a-fA-F]+$`)

	number   = matches(`-?\d{1,7}(\.\d{1,6})?`)
	moment   = matches(`\d{4}(-\d\d(-\d\d)?)?([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?|\d{1,2}:\d\d(:\d\d)?|\d{8}T\d{6}Z|\d{10}|\d{13}|(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`)
	locale   = matches(`[A-Za-z]{2,3}([-_][A-Za-z]{2,4}){0,2}`)
	zone     = matches(`[A-Za-z]{2,12}(/[A-Za-z_+\-0-9]{2,20}){0,2}|[+-]\d\d:?\d\d`)
	country  = matches(`[A-Z]{2,3}`)
	postal   = matches(`\d{4,5}(-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}`)
	email    = both(matches(`[\w.+\-]{1,40}@[\w.\-]{1,60}`), func(v string) bool { return hostName(v[strings.IndexByte(v, '@')+1:]) && calm(v) })
	identity = matches(`\d{1,12}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	cursor   = matches(`[\w\-=]{1,10}`)
	trace    = matches(`[\w.:/=;,@\-]{1,128}`)
	etags    = matches(`\*|(W/)?"[0-9A-Fa-f:\-]{0,64}(-gzip|-br|;gzip)?"(,\s*(W/)?"[0-9A-Fa-f:\-]{0,64}(-gzip|-br|;gzip)?")*`) // quoted strings that the server chose, in hexadecimal as most servers do
	nonce    = matches(`[\w+/\-=]{1,24}`)
	ranges   = matches(`bytes=[\d,\- ]{1,60}`)
	slugForm = matches(`[\pL]{1,16}([_\-. ]?[\pL\d]{1,12}){0,3}`)
)

// slug is a short identifier of words, such as session_start, t1 or desc.
func slug(v string) bool { return len(v) <= 40 && slugForm(v) && plainSegment(v) || slugNumbered(v) }

// slugNumbered is a word with a short number: t1, gpt4, ipv6.
func slugNumbered(v string) bool {
	word := strings.TrimRight(v, "0123456789")
	return len(word) > 0 && len(v)-len(word) <= 2 && shortWord(word)
}

// person is a name or a title: one to four words.
func person(v string) bool { return len(v) <= 60 && strings.Count(v, " ") <= 3 && sentence(v) }

// sentence is prose of plain words.
func sentence(v string) bool {
	if len(v) > 120 || assignsSecret(v) {
		return false
	}
	list := strings.FieldsFunc(v, func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune(`.,;:!?'()"-`, c) })
	secret := "" // the name of a secret whose value may follow
	for i, w := range list {
		low := strings.ToLower(w)
		switch {
		case secret == "" || linking[low]:
		case !afterName[low]:
			return false // my pin is swordfish
		default:
			secret = ""
		}
		if isSecretWord(low) || low == "code" && i+1 < len(list) && linking[strings.ToLower(list[i+1])] {
			secret = low
		}
		if !plainWord(w) && !(len(w) <= 2 && numberShape().MatchString(w)) {
			return false
		}
	}
	return len(list) > 0 && len(list) <= 16 && !gibberish(list)
}

// linking are the words between the name of a secret and its value.
var linking = words("is was are be equals ist war lautet es est era é jest है")

// afterName are the words that may follow the name of a secret in a sentence. Any other word may be
// its value.
var afterName = words(`a about across after again all an and any api app as at auth authentication authorization back based because been before
	between box bucket but button buttons by can cannot catalog catalogue change changed changes changing check checker client code codes count
	could dialog did didn do does doesn email emails empty error errors exchange expire expired expires expiring expiry failed
	fails field fields fix flow for forgot forgotten form format from function generate generated generation generator had
	handling has hash hashed hashes hashing have header headers help how i id if in input instead invalid into isn issue issues
	it its jar kept key keys length less library limit limited limits link links list login lost mail management manager may me meter
	middleware missing must my name names need needed needs network never new no not of off old on only options or our out over
	page pages plan please policies policy popup problem prompt protected protection provided provider recovery refresh
	refreshed refreshing reject rejected rejection request requested requests require required requirements requires reset resets
	resetting revoke revoked ring rotate rotated rotation rule rules same screen scope scopes security see sent server service
	session set settings setup should since size so some sort start started starts state still storage store stored stores strength support
	table test tests than that the their them then there they this ticket time timed timeout timeouts times to today tomorrow too tree type types
	unless until update updated updating usage use used user users using valid validation value values verification verify via
	wallet was wasn we well were what when where which while who why will with within without won work working works would wrong you your`)

// hostName is a host with an optional port, without a label that looks like a token.
func hostName(v string) bool { return len(v) <= 120 && hostForm(v) && calm(v) }

var hostForm = matches(`[\pL\pN.\-_]+(:\d{1,5})?|\[[0-9a-fA-F:.%]+\](:\d{1,5})?`)

// calm is a value of a protocol: printable, without a credential, without a run of characters that
// looks like a token, without a value for a secret name.
func calm(v string) bool {
	if len(v) > 400 || credential(v) {
		return false
	}
	for _, c := range []byte(v) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	if assignsSecret(v) || named(v) != v {
		return false
	}
	for _, m := range parameter().FindAllStringSubmatch(v, -1) {
		if !parameterValue(m[1], strings.Trim(m[2], `"`)) {
			return false
		}
	}
	return !slices.ContainsFunc(atom().FindAllString(v, -1), opaque)
}

// assignsSecret reports whether v gives a value to a secret name.
func assignsSecret(v string) bool {
	for _, m := range assignment().FindAllStringSubmatch(v, -1) {
		if secretName(m[1]) || strings.EqualFold(m[1], "key") {
			return true
		}
	}
	return false
}

// parameter finds the parameters of a header's value: q=0.8, max-age=60, v="24".
var parameter = lazy(`([\w\-]+)=("[^"]*"?|[^\s,;"()]*)`)

// parameterValue reports whether a header's parameter has a value such as the protocols have: a
// number, a word, a host.
func parameterValue(name, v string) bool {
	switch strings.ToLower(name) {
	case "q":
		return number(v)
	case "for", "by", "host", "server":
		return v == "" || hostName(v) || hostName(strings.TrimPrefix(v, "_"))
	}
	return v == "" || numberShape().MatchString(v) || plainSegment(v) || slugNumbered(v) || moment(v)
}

// plainWord reports whether w looks like a word of a language. A word of more than five Latin
// letters must consist of pairs of letters that are common in English.
func plainWord(w string) bool {
	if w == "" || len(w) > 48 {
		return false
	}
	for _, part := range humps(w) {
		if !lettersOnly(part) || len([]rune(part)) > 16 || !pronounceable(part) {
			return false
		}
	}
	return true
}

// shortWord is a plain word of at most five Latin letters, all small.
func shortWord(w string) bool {
	return len(w) <= 5 && plainWord(w) && strings.ToLower(w) == w
}

func lettersOnly(w string) bool {
	return w != "" && !strings.ContainsFunc(w, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.Is(unicode.M, c) })
}

// humps splits camelCase, but not an acronym: SendMessage is Send, Message; HTTP is HTTP. A word
// of many humps is no word.
func humps(w string) []string {
	list := camel(w)
	if len(list) > 1 && len(w) < 3*len(list) {
		return []string{w, "0"} // no word
	}
	return list
}

// pairs are the pairs of letters that occur in at least five of the 6,600 words which Go's
// standard library uses more than seven times in its comments, and some of the Web's own words.
var pairs = func() (table [26][26]bool) {
	for row := range strings.FieldsSeq(`
		a:bcdefghijklmnoprstuvwxyz b:abcehijlnoprstuy c:acdefghiklmnopqrstuvy d:abcdefgijlmnoprstuvwy
		e:abcdefghijklmnopqrstuvwxy f:acdefhiloprstuy g:acefghilmnoprstuy h:abdefilmoqrstuyz
		i:abcdefgklmnoprstuvxz j:aeopsu k:aegilnopstuy l:abcdefgiklnoprstuvwy m:abcdefiklmnopstuy
		n:abcdefghiklmnoprstuvwyz o:abcdefghijklmnoprstuvwxyz p:acdeghikloprstuy q:lu
		r:abcdefghiklmnoprstuvwy s:abcdefghiklmnopqrstuwy t:abcdefghilmoprstuvwxyz u:abcdefgilmnoprstxyz
		v:aeimopsy w:aehilnorsty x:acehipty y:abceilmnoprstwz z:aeioyz`) {
		for _, b := range row[2:] {
			table[row[0]-'a'][b-'a'] = true
		}
	}
	return table
}()

func pronounceable(w string) bool {
	w = strings.ToLower(w)
	return len(w) <= 5 || paired(w)
}

// paired reports whether w consists of pairs of letters that are common.
func paired(w string) bool {
	for i := 1; i < len(w); i++ {
		a, b := w[i-1], w[i]
		if a < 'a' || a > 'z' || b < 'a' || b > 'z' { // another script
			continue
		}
		if !pairs[a-'a'][b-'a'] {
			return false
		}
	}
	return true
}

// plainSegment is a segment of a path that a programmer wrote: words, joined by punctuation, with
// a version (v2), a year or a file extension.
func plainSegment(s string) bool {
	if len(s) > 64 {
		return false
	}
	parts := strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune("-_. ,+", c) })
	for _, p := range parts {
		if !plainWord(p) && !versionShape().MatchString(p) {
			return false
		}
	}
	return len(parts) > 0 && len(parts) <= 6 && !gibberish(parts)
}

// gibberish reports whether several short words are none: abcd-efgh-ijkl.
func gibberish(list []string) bool {
	odd := 0
	for _, w := range list {
		if n := len(w); (n == 4 || n == 5) && ascii(w) && lettersOnly(w) && (!paired(strings.ToLower(w)) || !strings.ContainsAny(w, "aeiouyAEIOUY")) {
			odd++
		}
	}
	return odd >= 2
}

var versionShape = lazy(`^(v\d{1,2}|(19|20)\d\d|\d)$`)

// opaque reports whether a run of letters, digits and _-+=~ looks generated by a machine.
func opaque(s string) bool {
	if len(s) < 6 {
		return false
	}
	if uuidShape().MatchString(s) {
		return true
	}
	longest := 0
	for part := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == '-' || c == '_' || c == '=' || c == '+' || c == '~' }) {
		if opaquePart(part) {
			return true
		}
		longest = max(longest, len(part))
	}
	return longest == 0 && len(s) > 40
}

func opaquePart(s string) bool {
	if numberShape().MatchString(s) {
		return len(s) > 10
	}
	if lettersOnly(s) {
		return len(s) > 7 && !plainWord(s)
	}
	if len(s) >= 16 && hexShape().MatchString(s) || len(s) > 24 || len(s) >= 6 && changes(s) >= 3 {
		return true
	}
	return slices.ContainsFunc(strings.FieldsFunc(s, unicode.IsDigit), func(w string) bool { return len(w) > 5 && !plainWord(w) })
}

// changes counts how often a run changes between digits, small letters and capitals; a capital
// before a small letter begins a word and is no change.
func changes(s string) (n int) {
	class := func(c rune) int {
		switch {
		case unicode.IsDigit(c):
			return 1
		case unicode.IsUpper(c):
			return 2
		}
		return 3
	}
	last := 0
	for _, c := range s {
		now := class(c)
		if last != 0 && now != last && !(last == 2 && now == 3) {
			n++
		}
		last = now
	}
	return n
}

// credentialShape matches what is a credential whatever it is called.
var credentialShape = lazy(`(?i:\b(?:bearer|digest|negotiate|ntlm|dpop|apikey|token)\s+[\w\-+/.=~]{6,})` +
	`|eyJ[\w-]{4,}\.[\w-]{2,}(?:\.[\w-]*)*` + // JWT: base64 of {"
	`|\b(?:gh[oprsu]_|github_pat_|gl[a-z]{2,7}-|[sr]k_(?:live|test)_|[spr]k-|xox[a-z]-|xapp-|AKIA|ASIA|AIza|ya29\.|SG\.|npm_|pypi-|hf_|shp[a-z]{2}_|whsec_|` +
	`dop_v1_|doo_v1_|GOCSPX-|ATATT|ATCTT|ATBB|hv[sbr]\.|dapi|glsa_|glc_|NRAK-|NRJS-|sntrys_|sntryu_|lin_api_|ntn_|secret_|sbp_|sb_secret_|fm[12]_|key-|rnd_|` +
	`pk_live_|PMAK-|rubygems_|dckr_pat_|tfp_|EAA|1//0|xkeysib-|re_|r8_|pat-|phc_|phx_|gsk_|pplx-|AC|SK)[\w\-]{12,}` +
	`|\b(?:figd_|tskey-|CFPAT-|nvapi-|xai-|ops_eyJ|pul-|dt0[a-z]\d\d\.|sq0[a-z]{3}-|EAAA|amzn\.mws\.|FLWSECK|HRKU-|hrku-|vercel_|p8e-|AQ\.A|lip_|b2_|apify_api_|nfp_|duffel_|` +
	`fly_|fo1_|tk_|pk\.eyJ|sk\.eyJ|pypi-|cio_|CLOJARS_|EZ[AT]K|LTAI|AKC|cmVmd|FwoG|IQoJb3|ghs_|sl\.|secret-|Zq_|wx[a-z]{2}_|xoxe\.|patv1\.|v1\.0-[0-9a-f]{8,}-)[\w\-.~]{10,}` +
	`|(?i:\b[a-z0-9]{2,16}[_\-](?:live|pat|tkn|secret|apikey|token)[_\-][\w\-]{8,})` + // most vendors: who, what, value
	`|\b(?:live|test|prod)_[A-Za-z0-9]{16,}` +
	`|\bAAAA[BC]3Nza[\w+/]{8,}` + // SSH keys
	`|\b[xyz]prv[1-9A-HJ-NP-Za-km-z]{16,}` + // wallets
	`|\$(?:2[abxy]|argon2(?:id|i|d)|[156]|y|scrypt)\$[\w$=,./+\-]{8,}` + // hashed passwords
	`|\$(?:production|sandbox)\$\w+\$\w+` + // Braintree
	`|(?i:otpauth://\S+|oracle:thin:[^\s@]+@)` +
	`|\b00D[A-Za-z0-9]{12,15}!\S{8,}` + // Salesforce
	`|AGE-SECRET-KEY-1[\w]{8,}` +
	`|\b\d{8,10}:[\w-]{30,}` + // Telegram
	`|(?s:-----BEGIN [A-Z ]*PRIVATE KEY.*)` +
	`|://[^/\s:@]*:[^/\s@]+@` +
	`|\b[\w.\-%]+:[^\s:@/,;"'()]{3,}@` + // user:password@host
	`|\b\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}\b|\b\d{4}[ -]\d{6}[ -]\d{5}\b` + // cards
	`|\b\d{4}-\d{4}-\d{4}\b` +
	`|\b\d{3}-\d{2}-\d{4}\b` + // social security numbers
	`|hooks\.slack\.com/\S+`)

// suspicious reports whether text may match credentialShape, licenseShape or basicShape, or is
// escaped. It is a hundred times as fast as they are, and false for most values.
func suspicious(text string) bool {
	run, digits, caps := 0, 0, 0 // the lengths of runs
	for _, c := range []byte(text) {
		class := byteClasses[c]
		if class&sign != 0 {
			return true
		}
		run = (run + 1) * int(class>>word&1)
		digits = (digits + 1) * int(class>>digit&1)
		caps = (caps + 1) * int(class>>capital&1)
		if run >= 12 || digits >= 9 || caps >= 9 {
			return true
		}
	}
	lower := strings.ToLower(text)
	return slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(lower, h) })
}

// hints are what credentials without a long run have in them.
var hints = strings.Fields("eyj bearer basic digest negotiate ntlm dpop apikey token ----- 1// otpauth hooks.slack")

// The classes of bytes that suspicious tells apart: a bit, and the numbers of three others.
const (
	sign    = 1 // one is enough
	word    = 1
	digit   = 2
	capital = 3
)

var byteClasses = func() (table [256]byte) {
	for c := range table {
		b := byte(c)
		is := func(set string) bool { return strings.IndexByte(set, b) >= 0 }
		upper, number := b >= 'A' && b <= 'Z', b >= '0' && b <= '9'
		if is("@$!%") {
			table[c] |= sign
		}
		if upper || b >= 'a' && b <= 'z' || number || is("_-.~") {
			table[c] |= 1 << word
		}
		if number || is(" -:") {
			table[c] |= 1 << digit
		}
		if number || upper || b == '-' {
			table[c] |= 1 << capital
		}
	}
	return table
}()

// licenseShape matches groups of capitals and digits, such as ABCD-12EF-GH34. A UUID in capitals
// is none, because its first group has eight.
var licenseShape = lazy(`(?:^|[^\w\-])[A-Z0-9]{4,6}(?:-[A-Z0-9]{4,6}){1,7}(?:$|[^\w\-])`)

func hasDigit(s string) bool {
	return strings.ContainsFunc(s, unicode.IsDigit) && strings.ContainsFunc(s, unicode.IsUpper)
}

var basicShape = lazy(`(?i)\bbasic\s+([A-Za-z0-9+/_\-]{4,}={0,2})`)

// credential reports whether text holds a credential by its shape, or assigns a value to a secret
// name, also percent-encoded.
func credential(text string) bool {
	for range 3 {
		if !suspicious(text) {
			return false
		}
		if credentialShape().MatchString(text) || slices.ContainsFunc(licenseShape().FindAllString(text, -1), hasDigit) {
			return true
		}
		if m := basicShape().FindStringSubmatch(text); m != nil {
			plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m[1], "="))
			if err == nil && strings.Contains(string(plain), ":") {
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
