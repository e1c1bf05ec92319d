package scrub

import (
	"slices"
	"strings"
	"unicode"
)

// nameWords splits a name at everything but letters and digits, and before a capital that begins a
// word: "X-Custom-Pin" is custom, pin and "accessToken" is access, token. A leading x is left out.
func nameWords(name string) []string {
	var list []string
	for part := range strings.FieldsFuncSeq(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.Is(unicode.M, c) }) {
		for _, w := range camel(part) {
			list = append(list, strings.ToLower(w))
		}
	}
	if len(list) > 1 && list[0] == "x" {
		list = list[1:]
	}
	return list
}

// camel splits before a capital that follows a small letter or a digit, or begins a capitalized
// word.
func camel(name string) []string {
	var list []string
	runes := []rune(name)
	start := 0
	for i := 1; i < len(runes); i++ {
		before := !unicode.IsUpper(runes[i-1])
		if unicode.IsUpper(runes[i]) && (before || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			list = append(list, string(runes[start:i]))
			start = i
		}
	}
	return append(list, string(runes[start:]))
}

var nameShape = lazy(`^[\pL\pM\pN_.\-\[\]:$@ ]{1,64}$`)

// nameLike reports whether text looks like the name of something.
func nameLike(name string) bool {
	return nameShape().MatchString(name) && !credentialShape().MatchString(name) && !slices.ContainsFunc(atom().FindAllString(name, -1), opaque)
}

// A list gives names a form, by the name's words joined with "-".
func list(table map[string]form) map[string]form {
	byName := make(map[string]form)
	for names, f := range table {
		for n := range strings.FieldsSeq(names) {
			byName[n] = f
		}
	}
	return byName
}

// shownNames are the parameters, fields and headers that are shown by their whole name.
var shownNames = list(map[string]form{
	`page per-page pagesize offset limit skip take top total age width height depth quantity qty lat lng lon zoom port retry
	 passengers adults children rooms guests score rank rating stars percent level n`: number,
	`max-tokens min-tokens total-tokens prompt-tokens completion-tokens remaining-tokens ratelimit-remaining-tokens
	 ratelimit-limit-tokens max-forwards forwarded-port`: number,
	`since until from to start end after before month year day hour minute`: moment,
	`lang language locale hl`: locale,
	`tz timezone time-zone`:   zone,
	`code country country-code currency currency-code language-code airport-code cf-ipcountry`: country,
	`zip zip-code zipcode postal-code postcode`:                                                postal,
	`email mail`: email,
	`sort sort-by order order-by dir direction type kind format view tab mode theme region category section event action method
	 model plan tier env environment group gender color colour brand platform os browser channel layout style unit units fields
	 include exclude expand tenant lang-pref source medium utm-source utm-medium utm-campaign charset requested-with
	 grant-type response-type response-mode`: either(slug, person),
	`author name first-name last-name full-name firstname lastname city company`:                                          person,
	`q query search term keyword keywords text note notes comment description message title subject reason summary label`: sentence,
	`page-token next-page-token cursor`: cursor,
	`id`:                                identity,
})

// shownEndings are shown by the last word of their name.
var shownEndings = list(map[string]form{
	`count length size limit offset width height total remaining timeout ttl version index percent quantity attempts rows columns`: number,
	`date time timestamp at`:            moment,
	`locale lang language`:              locale,
	`timezone`:                          zone,
	`type mode format status sort kind`: slug,
})

// keyNames are the words before "key" that make it the name of a column; its value is a word.
var keyNames = words(`sort partition primary foreign filter group cache order routing map index surrogate exp unique`)

// fieldForm is the form listed for a name, or nil.
func fieldForm(name string) form {
	words := nameWords(name)
	if len(words) == 0 {
		return nil
	}
	if f := shownNames[strings.Join(words, "-")]; f != nil {
		return f
	}
	last := words[len(words)-1]
	switch {
	case last == "key" && (len(words) == 1 || keyNames[words[len(words)-2]]):
		return either(shortWord, slugNumbered)
	case last == "id" && !slices.ContainsFunc(words, func(w string) bool { return secretWords[w] || w == "access" }):
		return identity
	}
	return shownEndings[last]
}

func either(a, b form) form { return func(v string) bool { return a(v) || b(v) } }

// headerForms are the headers of the protocol and of proxies, by their whole name.
var headerForms = list(map[string]form{
	`accept accept-charset accept-encoding accept-language accept-ranges access-control-request-headers
	 access-control-request-method alt-used cache-control connection content-encoding content-language content-length dnt
	 downlink dpr early-data ect expect forwarded forwarded-for forwarded-host forwarded-port forwarded-proto forwarded-server
	 forwarded-prefix real-ip client-ip true-client-ip cf-connecting-ip keep-alive max-forwards pragma prefer priority
	 proxy-connection rtt save-data sec-ch-ua sec-ch-ua-arch sec-ch-ua-full-version-list sec-ch-ua-mobile sec-ch-ua-model
	 sec-ch-ua-platform sec-ch-ua-platform-version sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc
	 sec-websocket-extensions sec-websocket-protocol sec-websocket-version te trailer transfer-encoding upgrade
	 upgrade-insecure-requests user-agent via viewport-width http-method-override method-override requested-with`: calm,
	`date if-modified-since if-unmodified-since amz-date`: moment,
	`etag if-match if-none-match if-range`:                either(etags, moment),
	`range`:                                               ranges,
	`request-id correlation-id trace-id traceparent b3-traceid b3-spanid b3-parentspanid b3-sampled b3 amzn-trace-id
	 cloud-trace-context cf-ray idempotency-key`: trace,
	`sec-websocket-key sec-websocket-accept`: nonce,
})

// cookieForms are the cookies that are shown. Sessions have any name, so these are few.
var cookieForms = list(map[string]form{
	`theme color-scheme region`: slug,
	`lang language locale i18n`: locale,
	`currency country`:          either(country, locale),
	`tz timezone`:               zone,
})

// addressNames are shown as a scrubbed URL or path.
var addressNames = words(`path uri url redirect redirect-uri redirect-url return-to return-url next callback callback-url
	referer referrer origin location href link src destination continue
	forwarded-uri original-url original-uri rewrite-url request-uri`)

// The words of a name that holds a secret.
var secretWords = words(`
	auth authentication authn authorization authz bearer
	cookie cookies credential credentials creds csrf xsrf
	jwt jws jwe saml assertion
	token tokens secret secrets passphrase passcode pass password passwords passwd pwd pw pin
	otp totp mfa session sessions sess sid
	apikey sig signature hmac nonce mnemonic seed
	cvc cvv ssn iban pan
	passwort kennwort wachtwoord wachtwort passe clave contraseña contrasena senha haslo heslo lösenord salasana şifre sifre parola hasło пароль 비밀번호 암호 密码 密碼 パスワード`)

// The ends of a name that holds a secret, with its words put together.
var secretEndings = strings.Fields(`
	accesskey apikey authorization clientkey cookie credential credentials csrf
	encryptionkey jwt masterkey passcode passphrase passwd password passwords
	privatekey secret secretkey secrets sessid sessionid signature signingkey
	token tokens userpass xsrf cardnumber verifier`)

// secretName reports whether the value of this name is a secret.
func secretName(name string) bool {
	words := nameWords(name)
	if slices.ContainsFunc(words, isSecretWord) {
		return true
	}
	if n := len(words); n > 1 && words[n-1] == "key" && !keyNames[words[n-2]] {
		return true
	}
	all := strings.Join(words, "")
	return slices.ContainsFunc(secretEndings, func(e string) bool { return strings.HasSuffix(all, e) })
}

func isSecretWord(w string) bool { return secretWords[w] }

// The words of a segment after which the next one may be a secret, as in /reset/9f86d081.
var secretSegments = words(`reset verify verification confirm confirmation activate activation invite invites invitation
	invitations magic unsubscribe hook hooks webhook webhooks callback key keys share shared s t link links ticket tickets
	login signin code claim approve accept oauth`)

func secretSegment(s string) bool {
	return slices.ContainsFunc(nameWords(s), func(w string) bool { return secretSegments[w] || secretWords[w] })
}

// afterSecret are the segments that are shown in that place.
var afterSecret = words(`callback login logout signin signup register confirm verify reset refresh revoke new edit list search
	token tokens authorize introspect userinfo keys webhooks status google github facebook apple saml oauth oidc password
	settings v1 v2 v3 api`)

func words(s string) map[string]bool {
	set := make(map[string]bool)
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}
