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
	 ratelimit-limit-tokens`: number,
	`since until from to start end after before month year day hour minute`: moment,
	`lang language locale hl`: locale,
	`tz timezone time-zone`:   zone,
	`code country country-code currency currency-code language-code airport-code cf-ipcountry`: country,
	`zip zip-code zipcode postal-code postcode`:                                                postal,
	`email mail`: email,
	`sort sort-by order order-by dir direction type kind format view tab mode theme region category section event action method
	 model plan tier env environment group gender color colour brand platform os browser channel layout style unit units fields
	 include exclude expand tenant lang-pref source medium utm-source utm-medium utm-campaign charset
	 grant-type response-type response-mode`: either(slug, person),
	`author name first-name last-name full-name firstname lastname city company`:                                          person,
	`q query search term keyword keywords text note notes comment description message title subject reason summary label`: sentence,
	`page-token next-page-token cursor`: cursor,
	`id`:                                identity,
})

// idNouns are the words before "id" whose value is shown: what a program numbers. The id of an
// invitation, a reset or a ticket is its secret.
var idNouns = words(`account app application article author batch build category channel cart chat client comment commit company
	component contract country course currency customer dataset department deployment device document driver employee entity
	environment event facility file folder group image instance inventory invoice issue item job language line list
	location member merchant message model node note object offer operation order org organisation organization owner package page
	parent part partner payment photo plan player playlist post process product profile project property question queue
	record region repo repository request resource review role room rule run run sample schedule seller sensor service
	shard shipment shop site sku source span stage step stock store story student subject subscription supplier table tag target
	task team template tenant thread topic trace transaction trip type unit user variant vehicle vendor version video view
	warehouse widget workflow workspace zone`)

// shownEndings are shown by the last word of their name.
var shownEndings = list(map[string]form{
	`count length size limit offset width height total remaining timeout ttl index percent quantity attempts rows columns`: number,
	`date time timestamp at`:            moment,
	`locale lang language`:              locale,
	`timezone`:                          zone,
	`type mode format status sort kind`: slug,
	`version`:                           matches(`v?\d{1,4}([.\-]\d{1,4}){0,3}`),
})

// keyNames are the words before "key" that make it the name of a column; its value is a word.
var keyNames = words(`sort partition primary foreign filter group cache order routing map index surrogate exp unique`)

// shortCount is a number that is no PIN. A name that has a secret's word in it, such as
// X-Session-Length, is shown with such a value only.
var shortCount = either(matches(`\d{1,3}`), both(moment, matches(`.*[:\-].*`)))

// tokenTypes are the values of names such as token_type.
var tokenTypes = oneOf("bearer basic digest dpop mac jwt access refresh id")

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
	case last == "id":
		if len(words) == 1 || idNouns[words[len(words)-2]] && !secretName(name) {
			return identity
		}
		return nil
	case shownEndings[last] != nil && secretName(name):
		if last == "type" {
			return tokenTypes
		}
		return both(shownEndings[last], shortCount)
	}
	return shownEndings[last]
}

func either(a, b form) form { return func(v string) bool { return a(v) || b(v) } }

// cookieForms are the cookies that are shown. Sessions have any name, so these are few.
var cookieForms = list(map[string]form{
	`theme color-scheme region`: both(slug, matches(`\S*`)),
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
	cvc cvc2 cvv cvv2 ssn iban pan recovery
	passwort kennwort geheimnis geheim schlüssel schluessel wachtwoord geheime passe clave contraseña contrasena secreto senha segredo chave
	haslo heslo jelszo jelszó lozinka salasana salasõna salasona parool lösenord losenord adgangskode passord lykilorð sifre şifre parola parolă sandi nenosiri`)

// foreignSecrets are words for a password, a secret or a token in scripts without a form for each:
// the word may have a particle or an ending.
var foreignSecrets = strings.Fields(`hasło пароль парол секрет токен ключ κωδικ συνθηματικ 비밀번호 비번 암호 토큰 인증번호 비밀 密码 密碼 口令 密钥 密鑰 令牌 暗証 秘密 鍵
	パスワード トークン シークレット סיסמ סוד पासवर्ड कूटशब्द रहस्य पिन كلمة_المرور المرور السر رمز پسورد گذرواژه رمزعبور รหัสผ่าน รหัส মোটামুটি পাসওয়ার্ড கடவுச்சொல் khẩu გასაღები პაროლი գաղտնաբառ`)

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

func isSecretWord(w string) bool {
	if secretWords[w] {
		return true
	}
	return !ascii(w) && slices.ContainsFunc(foreignSecrets, func(s string) bool { return strings.Contains(w, s) })
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c > unicode.MaxASCII })
}

// The words of a segment after which the next ones may be secrets, as in /reset/9f86d081.
var secretSegments = words(`reset verify verification confirm confirmation activate activation invite invites invitation
	invitations magic unsubscribe optout hook hooks webhook webhooks callback key keys share shared s t r c i j p link links ticket tickets
	login signin signup register join meet meeting code claim approve accept oauth sso recover recovery unlock validate validation access
	private guest gift voucher vouchers coupon coupons redeem rsvp feed calendar ical ics qr download downloads paste onboard onboarding otp 2fa mfa
	pay payment email`)

func secretSegment(s string) bool {
	return s == "opt-out" || slices.ContainsFunc(nameWords(s), func(w string) bool { return secretSegments[w] || isSecretWord(w) })
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
