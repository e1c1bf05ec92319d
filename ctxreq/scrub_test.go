package ctxreq_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// reported is the report of a request that fails.
func reported(t testing.TB, c *ctxreq.Config, r *http.Request) *ctxreq.Report {
	rec := new(recorder)
	c.Reporter = rec
	c.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1<<12)
		r.Body.Read(buf)
		panic("x")
	})).ServeHTTP(httptest.NewRecorder(), r)
	require.Len(t, rec.all(), 1)
	return rec.all()[0]
}

const hidden = "[hidden]"

func TestScrubbedHeaders(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP"
	rows := []struct{ name, value, want string }{
		// Hidden by a word of the name.
		{"Authorization", "x", hidden},
		{"Proxy-Authorization", "x", hidden},
		{"X-Authorization", "x", hidden},
		{"X-Auth", "x", hidden},
		{"X-Auth-User", "x", hidden},
		{"X-Token", "x", hidden},
		{"X-Csrf-Token", "x", hidden},
		{"X-Xsrf-Token", "x", hidden},
		{"X-Amz-Security-Token", "x", hidden},
		{"X-Vault-Token", "x", hidden},
		{"Private-Token", "x", hidden},
		{"X-Custom-Pin", "1234", hidden}, // sentry-go lets it through
		{"Pin", "1234", hidden},
		{"X-Otp", "123456", hidden},
		{"X-Secret", "x", hidden},
		{"X-Client-Secret", "x", hidden},
		{"X-Password", "x", hidden},
		{"X-User-Passwd", "x", hidden},
		{"X-Session", "x", hidden},
		{"X-Session-Id", "x", hidden},
		{"X-Jwt", "x", hidden},
		{"Cf-Access-Jwt-Assertion", "x", hidden},
		{"X-Hub-Signature-256", "x", hidden},
		{"X-Signature", "x", hidden},
		{"X-Credential", "x", hidden},
		{"Set-Cookie", "x", hidden},
		{"Cookie2", "x", "x"}, // an old name, of no secret
		{"X-Api-Key", "x", hidden},
		{"Api_key", "x", hidden},
		{"X-Functions-Key", "x", hidden},
		{"Ocp-Apim-Subscription-Key", "x", hidden},
		{"Key", "x", hidden},
		{"X-Ssn", "x", hidden},
		// Hidden by the end of the name.
		{"X-Apikey", "x", hidden},
		{"X-Accesstoken", "x", hidden},
		{"Xauthtoken", "x", hidden},
		{"X-Phpsessid", "x", hidden},
		{"Jsessionid", "x", hidden},
		{"X-Userpassword", "x", hidden},
		{"X-Clientsecret", "x", hidden},
		// Hidden by the value.
		{"X-Forwarded-Debug", jwt, hidden},
		{"X-Debug", "Bearer abcdef", hidden},
		{"X-Debug", "basic dXNlcjpwYXNz", hidden},
		{"X-Debug", `Digest username="x", response="y"`, hidden},
		{"X-Debug", "ghp_0123456789abcdef", hidden},
		{"X-Debug", "sk_live_0123456789", hidden},
		{"X-Debug", "AKIAIOSFODNN7EXAMPLE", hidden},
		{"X-Debug", "-----BEGIN RSA PRIVATE KEY-----", hidden},
		{"X-Debug", "postgres://user:pw@db/x", hidden},
		{"X-Debug", "a=1; token=abc", hidden},
		{"X-Debug", `{"password": "abc"}`, hidden},
		{"X-Debug", "%74oken%3Dabc", hidden},
		{"X-Original-Url", "/reset?token=abc&page=2", "/reset?token=[hidden]&page=2"},
		{"Referer", "https://x.test/a?code=abc&q=go", "https://x.test/a?code=[hidden]&q=go"},
		{"Referer", "https://x.test/a?next=%2Fb%3Ftoken%3Dabc", "https://x.test/a?next=[hidden]"},
		// Shown.
		{"X-Author", "Jane", "Jane"}, // sentry-go hides it
		{"Author", "Jane", "Jane"},
		{"X-Authority", "x.test", "x.test"},
		{"X-Spinner", "on", "on"},
		{"X-Pinned-Item", "7", "7"},
		{"X-Shipping", "fast", "fast"},
		{"X-Compass", "north", "north"},
		{"X-Passenger-Count", "2", "2"},
		{"X-Secretary", "Tom", "Tom"},
		{"X-Tokenizer", "bpe", "bpe"},
		{"X-Monkey", "1", "1"},
		{"X-Keyboard", "us", "us"},
		{"Idempotency-Key", "7", "7"},
		{"Sec-Websocket-Key", "x", "x"},
		{"Surrogate-Key", "x", "x"},
		{"X-Country-Code", "kr", "kr"},
		{"User-Agent", "Mozilla/5.0 (X11; rv:109.0)", "Mozilla/5.0 (X11; rv:109.0)"},
		{"Accept", "text/html;q=0.9, */*;q=0.8", "text/html;q=0.9, */*;q=0.8"},
		{"Content-Type", "multipart/form-data; boundary=xyz", "multipart/form-data; boundary=xyz"},
		{"X-Request-Id", "7b0c6a7e-1d3c-4b8e-9a57-7bd6f4f2c1de", "7b0c6a7e-1d3c-4b8e-9a57-7bd6f4f2c1de"},
		{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"X-Forwarded-For", "10.0.0.1, 10.0.0.2", "10.0.0.1, 10.0.0.2"},
		{"Forwarded", "for=10.0.0.1;proto=https", "for=10.0.0.1;proto=https"},
		{"If-None-Match", `"33a64df551425fcc55e4d42a148795d9f25f89d4"`, `"33a64df551425fcc55e4d42a148795d9f25f89d4"`},
		{"Range", "bytes=0-99", "bytes=0-99"},
		{"Access-Control-Request-Headers", "authorization, x-token", "authorization, x-token"},
	}
	for _, row := range rows {
		t.Run(row.name+"="+row.value, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set(row.name, row.value)
			require.Equal(t, row.want, reported(t, new(ctxreq.Config), r).Request.Header.Get(row.name))
		})
	}
	require.GreaterOrEqual(t, len(rows), 60)
}

func TestScrubbedCookies(t *testing.T) {
	rows := map[string]string{ // by why
		"theme=dark":                        "theme=dark",
		"lang=ko; tz=Asia/Seoul":            "lang=ko; tz=Asia/Seoul",
		"sid=1":                             "sid=[hidden]",
		"connect.sid=1":                     "connect.sid=[hidden]",
		"PHPSESSID=1":                       "PHPSESSID=[hidden]",
		"JSESSIONID=1":                      "JSESSIONID=[hidden]",
		"ASP.NET_SessionId=1":               "ASP.NET_SessionId=[hidden]",
		"__Host-session=1":                  "__Host-session=[hidden]",
		"csrftoken=1":                       "csrftoken=[hidden]",
		"XSRF-TOKEN=1":                      "XSRF-TOKEN=[hidden]",
		"accessToken=1":                     "accessToken=[hidden]",
		"remember_user_token=1":             "remember_user_token=[hidden]",
		"laravel_session=1":                 "laravel_session=[hidden]",
		"jwt=1":                             "jwt=[hidden]",
		"author=Jane":                       "author=Jane",
		"spinner=on":                        "spinner=on",
		"unheard_of=5f1c2d9e8b7a6f5e4d3c":   "unheard_of=[hidden]", // long enough to be a session
		"5f1c2d9e8b7a6f5e4d3c":              "[hidden]",
		"seen":                              "seen",
		"theme=dark; sid=5f1c; lang=ko":     "theme=dark; sid=[hidden]; lang=ko",
		"a=" + url.QueryEscape("token=abc"): "a=[hidden]",
		"theme=dark;sid=1":                  "theme=dark; sid=[hidden]",
		"ASPSESSIONIDQASBBCRT=GHIJKLMNOPABCDEFGH": "ASPSESSIONIDQASBBCRT=[hidden]",
	}
	for in, want := range rows {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", in)
		assert.Equal(t, want, reported(t, new(ctxreq.Config), r).Request.Header.Get("Cookie"))
	}
}

func TestScrubbedURL(t *testing.T) {
	rows := map[string]string{
		"/a?page=2&q=go":                   "/a?page=2&q=go",
		"/a?access_token=abc&page=2":       "/a?access_token=[hidden]&page=2",
		"/a?password=abc&password=def":     "/a?password=[hidden]&password=[hidden]",
		"/a?api%5Fkey=abc":                 "/a?api%5Fkey=[hidden]",
		"/a?user%5Bpassword%5D=abc":        "/a?user%5Bpassword%5D=[hidden]",
		"/a?code=abc&state=x":              "/a?code=[hidden]&state=x",
		"/a?zip_code=123":                  "/a?zip_code=123",
		"/a?q=Bearer+abcdef":               "/a?q=[hidden]",
		"/a?%zz=1":                         "/a?[hidden]",
		"/password-reset/9f86d081884c7d65": "/password-reset/%5Bhidden%5D",
		"/users/9f86d081884c7d65":          "/users/9f86d081884c7d65",
	}
	for in, want := range rows {
		r := httptest.NewRequest("GET", in, nil)
		assert.Equal(t, want, reported(t, new(ctxreq.Config), r).Request.URL.String())
	}
	r := httptest.NewRequest("GET", "http://user:pw@x.test/", nil)
	require.Equal(t, "http://%5Bhidden%5D@x.test/", reported(t, new(ctxreq.Config), r).Request.URL.String())
}

func TestScrubbedBody(t *testing.T) {
	rows := map[string]string{
		`{"name":"Jane"}`:                        `{"name":"Jane"}`,
		`{"name":"Jane","password":"abc"}`:       "[hidden: 32 bytes that mention a secret]",
		"user=Jane&pin=1234":                     "[hidden: 18 bytes that mention a secret]",
		"<password>abc</password>":               "[hidden: 24 bytes that mention a secret]",
		"name=\"token\"\r\n\r\nabc\r\n--b--":     "[hidden: 26 bytes that mention a secret]",
		"text \xff that is not UTF-8":            "text \uFFFD that is not UTF-8",
		"the author of the compass":              "the author of the compass",
		"x " + strings.Repeat("y", 100) + " cut": "x " + strings.Repeat("y", 62),
	}
	for in, want := range rows {
		r := httptest.NewRequest("POST", "/", strings.NewReader(in))
		report := reported(t, &ctxreq.Config{BodyCapture: 64}, r)
		assert.Equal(t, want, report.Body)
		assert.Equal(t, len(in) > 64, report.BodyCut)
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("body"))
	require.Empty(t, reported(t, new(ctxreq.Config), r).Body, "only when it is asked for")
}

func TestHideAddsToTheRule(t *testing.T) {
	c := &ctxreq.Config{Hide: func(name, value string) bool { return name == "X-Badge" || strings.HasPrefix(value, "cust_") }}
	r := httptest.NewRequest("GET", "/a?ref=cust_1&page=2", nil)
	r.Header.Set("X-Badge", "7")
	r.Header.Set("X-Token", "x")
	r.Header.Set("Cookie", "theme=dark; who=cust_1")
	report := reported(t, c, r)
	require.Equal(t, hidden, report.Request.Header.Get("X-Badge"))
	require.Equal(t, hidden, report.Request.Header.Get("X-Token"), "what is hidden anyway stays so")
	require.Equal(t, "theme=dark; who=[hidden]", report.Request.Header.Get("Cookie"))
	require.Equal(t, "/a?ref=[hidden]&page=2", report.Request.URL.String())
}

func TestSnapshotIsBoundedAndSaysSo(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	for i := range 10 {
		r.Header.Set(fmt.Sprint("X-Big-", i), strings.Repeat("x", 4<<10))
	}
	report := reported(t, new(ctxreq.Config), r)
	size := 0
	for _, values := range report.Request.Header {
		size += len(values[0])
	}
	require.LessOrEqual(t, size, 16<<10)
	require.Equal(t, 10, report.Omitted+len(report.Request.Header))
	require.Positive(t, report.Omitted)
}

// TestReportSharesNoMemoryWithTheRequest gives a request whose strings are all
// cut from one, as the server's are, and looks for it in the report.
func TestReportSharesNoMemoryWithTheRequest(t *testing.T) {
	raw := strings.Repeat("x", 1<<10) + "/users/7page=2BREWX-NameNamevalueHTTP/1.1req-1theme=darkhttp://x.test/?a=b10.0.0.1:80x.test"
	cut := func(s string) string {
		i := strings.LastIndex(raw, s)
		return raw[i : i+len(s)]
	}
	r := httptest.NewRequest("GET", "/", strings.NewReader("body"))
	r.Method, r.Proto, r.RemoteAddr, r.Host = cut("BREW"), cut("HTTP/1.1"), cut("10.0.0.1:80"), cut("x.test")
	r.URL = &url.URL{Path: cut("/users/7"), RawQuery: cut("page=2"), Host: cut("x.test")}
	r.Header = http.Header{cut("X-Name"): {cut("value")}, "X-Request-Id": {cut("req-1")}, "Cookie": {cut("theme=dark")}, "Referer": {cut("http://x.test/?a=b")}}
	report := reported(t, &ctxreq.Config{BodyCapture: 8}, r)
	require.Equal(t, "BREW", report.Info.Name)
	require.Equal(t, "/users/7", report.Info.Path)

	begin, n := uintptr(unsafe.Pointer(unsafe.StringData(raw))), uintptr(len(raw))
	var look func(at string, v reflect.Value)
	look = func(at string, v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			p := uintptr(unsafe.Pointer(unsafe.StringData(v.String())))
			assert.False(t, p-begin < n, "%s = %q pins the request", at, v)
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				look(at, v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					look(at+"."+v.Type().Field(i).Name, v.Field(i))
				}
			}
		case reflect.Slice:
			for i := range v.Len() {
				look(at+"[]", v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				look(at+".key", k)
				look(at+"["+k.String()+"]", v.MapIndex(k))
			}
		}
	}
	look("Report", reflect.ValueOf(report))
}

// FuzzNoPlantedSecretComesOut hides a secret at every place a client sends one.
func FuzzNoPlantedSecretComesOut(f *testing.F) {
	places := []func(r *http.Request, secret string){
		func(r *http.Request, s string) { r.Header.Set("Authorization", "Bearer "+s) },
		func(r *http.Request, s string) { r.Header.Set("X-Anything", "Bearer "+s) },
		func(r *http.Request, s string) {
			r.Header.Set("X-Anything", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+s)))
			r.SetBasicAuth("user", s)
		},
		func(r *http.Request, s string) { r.AddCookie(&http.Cookie{Name: "session", Value: s}) },
		func(r *http.Request, s string) { r.AddCookie(&http.Cookie{Name: "unheard_of", Value: s + s}) },
		func(r *http.Request, s string) { r.Header.Set("X-Api-Key", s) },
		func(r *http.Request, s string) { r.Header.Set("X-Custom-Pin", s) },
		func(r *http.Request, s string) { r.URL.RawQuery = "page=1&" + url.Values{"access_token": {s}}.Encode() },
		func(r *http.Request, s string) { r.URL.RawQuery = url.Values{"next": {"/x?token=" + s}}.Encode() },
		func(r *http.Request, s string) {
			r.Header.Set("Referer", "https://x.test/?"+url.Values{"password": {s}, "q": {"1"}}.Encode())
		},
		func(r *http.Request, s string) { r.URL.User = url.UserPassword("user", s) },
		func(r *http.Request, s string) {
			r.Header.Set("X-Jwt-Anywhere-Else", "eyJhbGciOiJIUzI1NiJ9."+base64.RawURLEncoding.EncodeToString([]byte(s)))
		},
		func(r *http.Request, s string) { r.URL.Path = "/password-reset/0123456789" + url.PathEscape(s) },
	}
	bodies := []func(secret string) string{
		func(s string) string { return url.Values{"password": {s}}.Encode() },
		func(s string) string { return fmt.Sprintf(`{"user":{"accessToken":%q}}`, s) },
		func(s string) string { return "name=\"pin\"\r\n\r\n" + s },
	}
	f.Add("correct horse battery staple", "X-Noise", "noise=1; other=2")
	f.Add("a;b,c=d&e?f%41", "Referer", "?a=b&c")
	f.Add("s3cr3t-Value", "Cookie", "theme=dark")
	f.Add("0 00", "0", "0") // Bearer, with a space in the token
	f.Fuzz(func(t *testing.T, random, name, noise string) {
		// A marker that no encoding changes, in the middle of what is random.
		const marker = "Pl4ntedS3cret"
		secret := random[:len(random)/2] + marker + random[len(random)/2:]
		secret = strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1 // net/http lets no such header in
			}
			return r
		}, secret)
		for _, plant := range places {
			for _, body := range bodies {
				r := httptest.NewRequest("POST", "/", strings.NewReader(body(secret)))
				if !strings.EqualFold(name, "Host") {
					r.Header.Add(name, noise)
				}
				plant(r, secret)
				report := reported(t, &ctxreq.Config{BodyCapture: 1 << 10}, r)
				out := fmt.Sprint(report.Request.URL, report.Request.Header, report.Request.Host, report.Body, report.Request.Pattern)
				if strings.Contains(out, marker) {
					t.Errorf("the secret %q came out: %s", secret, out)
				}
				encoded := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
				if strings.Contains(out, encoded) {
					t.Errorf("the encoded secret %q came out: %s", secret, out)
				}
			}
		}
	})
}
