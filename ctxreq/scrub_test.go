package ctxreq_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/internal/testgate"
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

// A planted line of a table in testdata: a part of a request, and its text.
type planted struct {
	place, contentType, text string
	shown                    bool // for harmless.txt
}

func readTable(t testing.TB, name string) (rows []planted) {
	f, err := os.Open("testdata/" + name)
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		row := planted{shown: true}
		if rest, ok := strings.CutPrefix(line, "hidden\t"); ok {
			row.shown = false
			line, _, _ = strings.Cut(rest, "\t#")
		}
		row.place, row.text, _ = strings.Cut(line, "\t")
		if row.place == "body" {
			row.contentType, row.text, _ = strings.Cut(row.text, "\t")
			row.text = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\x00`, "\x00", `\xff`, "\xff").Replace(row.text)
		}
		rows = append(rows, row)
	}
	require.NoError(t, lines.Err())
	return rows
}

// request makes the request that the row describes, and the error that its handler reports.
func (p planted) request() (*http.Request, error) {
	r := httptest.NewRequest("GET", "/x", nil)
	failure := errors.New("it failed")
	switch p.place {
	case "header":
		name, value, _ := strings.Cut(p.text, ": ")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Set(name, value)
		}
	case "cookie":
		r.Header.Set("Cookie", p.text)
	case "target":
		u, err := url.Parse(p.text)
		if err != nil {
			u = &url.URL{Path: p.text}
		}
		r.URL = u
	case "body":
		r = httptest.NewRequest("POST", "/x", strings.NewReader(p.text))
		r.Header.Set("Content-Type", p.contentType)
	case "error":
		failure = errors.New(p.text)
	default:
		panic("place " + p.place)
	}
	r.RemoteAddr = "192.0.2.1:80" // digits that are not in the table
	return r, failure
}

// places are what a stack has of addresses, numbers and paths of files.
var places = regexp.MustCompile(`0x[0-9a-f]+|goroutine \d+|\t\S+\.go:\d+`)

// shown returns every text about a request whose handler reports failure: the report, InFlight,
// Info, and the log line of a Config without a Reporter. It leaves out what changes from run to run
// and may contain a short secret by accident: times, addresses, paths, ids that the package made.
func shown(r *http.Request, failure error) string {
	sent := r.Header.Get("X-Request-Id")
	steady := func(infos ...ctxreq.Info) []ctxreq.Info {
		for i := range infos {
			infos[i].Start, infos[i].Duration = time.Time{}, 0
			if infos[i].ID != sent {
				infos[i].ID = ""
			}
		}
		return infos
	}
	var log bytes.Buffer
	old := slog.Default()
	defer slog.SetDefault(old)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch {
		case a.Key == slog.TimeKey, a.Key == "id" && a.Value.String() != sent:
			return slog.Attr{}
		case a.Key == "stack":
			return slog.String("stack", places.ReplaceAllString(a.Value.String(), ""))
		}
		return a
	}})))
	var out strings.Builder
	rec := new(recorder)
	loud, quiet := &ctxreq.Config{BodyCapture: 1 << 12}, &ctxreq.Config{BodyCapture: 1 << 12, Reporter: rec}
	body := ""
	if r.Body != http.NoBody {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		body = b.String()
	}
	for _, c := range []*ctxreq.Config{loud, quiet} {
		r := r.Clone(context.Background())
		r.Body = http.NoBody
		if body != "" {
			r.Body = readCloser{strings.NewReader(body)}
		}
		c.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			r.Body.Read(make([]byte, 1<<12))
			s := ctxreq.From(r.Context())
			s.Report(failure)
			s.Go("child", func(context.Context) error { return failure })
			s.Wait()
			fmt.Fprintf(&out, "%+v\n", steady(append(c.InFlight(), s.Info())...))
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, r := range rec.all() {
		fmt.Fprintf(&out, "%v %+v %+v\n%s\n%q\n%v %#v\n", r.Request.URL, r.Request.Header, r.Request.Host, r.Body, r.Values, r.Err, r.Err)
		for e := r.Err; e != nil; e = errors.Unwrap(e) {
			fmt.Fprintln(&out, e)
		}
		fmt.Fprintln(&out, r.Request.Method, r.Request.Pattern, r.Request.RemoteAddr, r.Request.URL.Path, r.Request.URL.RawQuery, r.Request.URL.Fragment)
	}
	return out.String() + log.String()
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// leaks reports whether text contains the secret, also in an escaped form.
func leaks(text, secret string) bool {
	if !strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
		plain, err := url.QueryUnescape(text)
		return err == nil && strings.Contains(plain, secret)
	}
	return true
}

// The planted secrets: some look generated by a machine, some chosen by a person.
var (
	machine = []string{"Zq7xK2vN9pL4", "6f1c2d9e-8b7a-4f5e-9d3c-0a1b2c3d4e5f", "9f86d081884c7d659a2feaa0c55ad015", "qzxvkjwpnmtrbhgd", "QZXVKJWPNM7TRBHG"}
	person  = []string{"hunter2", "swordfish", "483920", "Tr0ub4dor", "correcthorse"}
)

func people() []string {
	if testgate.Long() {
		return person
	}
	return person[:1]
}

var literal = regexp.MustCompile(`\{=([^}]*)\}`)

// plant returns the row with each of the secrets that belong in its place.
func (p planted) plant() map[string]planted {
	rows := make(map[string]planted)
	if all := literal.FindAllStringSubmatch(p.text, -1); all != nil {
		row := p
		row.text = literal.ReplaceAllString(p.text, "$1")
		for _, m := range all {
			rows[m[1]] = row
		}
		return rows
	}
	secrets := machine
	if !testgate.Long() {
		secrets = machine[:2]
	}
	if !strings.Contains(p.text, "{R}") {
		secrets = append(secrets[:len(secrets):len(secrets)], people()...)
	}
	for _, s := range secrets {
		row := p
		basic := base64.StdEncoding.EncodeToString([]byte("user:" + s))
		row.text = strings.NewReplacer("{S}", s, "{R}", s, "{B}", basic).Replace(p.text)
		if strings.Contains(row.text, s) {
			rows[s] = row
		}
		if strings.Contains(p.text, "{B}") {
			rows[basic] = row
		}
	}
	return rows
}

func TestNoSecretIsShown(t *testing.T) {
	testgate.Seconds(t)
	table := readTable(t, "secrets.txt")
	require.GreaterOrEqual(t, len(table), 300)
	where, forms, bad := map[string]int{}, 0, 0
	for _, row := range table {
		where[row.place]++
		for secret, row := range row.plant() {
			forms++
			require.Contains(t, row.text, secret, "the table plants it")
			if text := shown(row.request()); leaks(text, secret) {
				bad++
				assert.Fail(t, "shown: "+row.place+" "+row.text, "%.3000s", text)
			}
		}
	}
	t.Logf("%d of %d planted secrets are shown, in %d places: %v", bad, forms, len(table), where)
}

func TestHarmlessValuesAreShown(t *testing.T) {
	testgate.NoRace(t)
	table := readTable(t, "harmless.txt")
	hidden := 0
	for i, row := range table {
		r, failure := row.request()
		text := shown(r, failure)
		want := row.text
		switch row.place {
		case "header":
			_, want, _ = strings.Cut(row.text, ": ")
		case "target":
			want = row.text
			if path, value, ok := strings.Cut(row.text, "="); ok {
				want = value
				_ = path
			}
		}
		is := strings.Contains(text, want)
		assert.Equal(t, row.shown, is, "%s %s\n%s", row.place, row.text, text)
		if i < 55 && !is {
			hidden++
		}
	}
	t.Logf("hidden: %d of the first 55", hidden)
	require.LessOrEqual(t, hidden, 5)
}

func TestShowAddsAndHideTakesAway(t *testing.T) {
	c := &ctxreq.Config{
		Show: func(name, value string) bool {
			return name == "X-Badge" || name == "ref" || name == "who" || name == "X-Any"
		},
		Hide: func(name, value string) bool { return name == "User-Agent" || strings.HasPrefix(value, "cust_9") },
	}
	r := httptest.NewRequest("GET", "/a?ref=cust_1&page=2&who=cust_9", nil)
	r.Header.Set("X-Badge", "Zq7xK2vN9pL4")
	r.Header.Set("X-Token", "x")
	r.Header.Set("X-Any", "Bearer abcdefgh")
	r.Header.Set("User-Agent", "curl/8.0")
	r.Header.Set("Cookie", "theme=dark; who=cust_1")
	report := reported(t, c, r)
	require.Equal(t, "Zq7xK2vN9pL4", report.Request.Header.Get("X-Badge"))
	require.Equal(t, "[hidden:word:1]", report.Request.Header.Get("X-Token"))
	require.Equal(t, "[hidden:text:15]", report.Request.Header.Get("X-Any"), "a credential stays hidden")
	require.Equal(t, "[hidden:token:8]", report.Request.Header.Get("User-Agent"), "Hide wins")
	require.Equal(t, "theme=dark; who=cust_1", report.Request.Header.Get("Cookie"))
	require.Equal(t, "/a?ref=cust_1&page=2&who=[hidden:token:6]", report.Request.URL.String())
}

var account = ctxreq.NewKey[struct {
	Name, Password string
	Login          *struct{ Pin int }
	Tags           map[string]string
}]("test.account", ctxreq.Log)

func TestErrorsAndKeysAreScrubbed(t *testing.T) {
	const secret = "Zq7xK2vN9pL4"
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := struct {
			Name, Password string
			Login          *struct{ Pin int }
			Tags           map[string]string
		}{"ada", secret, &struct{ Pin int }{483920}, map[string]string{"token": secret}}
		account.Set(r.Context(), v)
		tenant.Set(r.Context(), "acme")
		_, err := http.Get("http://127.0.0.1:1/x?api_key=" + secret)
		ctxreq.From(r.Context()).Report(err)
		ctxreq.From(r.Context()).Report(http.ErrBodyNotAllowed)
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	r := rec.all()[0]
	require.Contains(t, r.Err.Error(), `Get "http://127.0.0.1:1/x?api_key=[hidden:token:12]"`)
	require.NotContains(t, fmt.Sprintf("%+v %#v", r.Err, r.Err), secret)
	require.NoError(t, errors.Unwrap(r.Err), "a reporter that walks the chain does not find it either")
	var inner *url.Error
	require.ErrorAs(t, r.Err, &inner, "but its kind can be asked")
	require.Equal(t, "{Name:ada Password:[hidden:token:12] Login:{Pin:[hidden:number:6]} Tags:map[token:[hidden:token:12]]}", r.Values["test.account"])
	require.Equal(t, "acme", r.Values["test.tenant"])
	require.True(t, rec.all()[1].Err == http.ErrBodyNotAllowed, "an error with nothing to hide is the one that was reported")
}

type pointerError struct{ text string }

func (e *pointerError) Error() string { return e.text }

// A longError shows more with %+v.
type longError struct{ secret string }

func (longError) Error() string { return "login failed" }
func (e longError) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, "login failed")
	if f.Flag('+') {
		fmt.Fprint(f, " password="+e.secret)
	}
}

// An error may hide its secret in what it wraps or in its long form, and may panic itself.
func TestOddErrorsAreScrubbed(t *testing.T) {
	const secret = "swordfish"
	inner := &url.Error{Op: "Get", URL: "http://h/x?token=" + secret, Err: errors.New("refused")}
	rec := new(recorder)
	_, s := (&ctxreq.Config{Reporter: rec}).Start(context.Background(), "job")
	for _, err := range []error{
		errors.Join(errors.New("a"), fmt.Errorf("b: %w", inner)),
		fmt.Errorf("%w, %w", io.EOF, inner),
		longError{secret},
		fmt.Errorf("c: %w", longError{secret}),
		(*pointerError)(nil),
		fmt.Errorf("d: %w", (*pointerError)(nil)),
	} {
		s.Report(err)
	}
	s.Go("child", func(context.Context) error { panic(inner) })
	s.Defer(func(context.Context) error { panic((*pointerError)(nil)) })
	require.Error(t, s.End(nil))
	require.Len(t, rec.all(), 8)
	for _, r := range rec.all() {
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", r.Err, r.Err, r.Err), secret)
		require.NotEmpty(t, r.Err.Error())
	}
	require.Contains(t, rec.all()[2].Err.Error(), "password=[hidden:word:9]")
	require.Contains(t, rec.all()[4].Err.Error(), "pointerError")
}

// A value is hidden if Show or Hide panics, and the report arrives.
func TestShowAndHideMayPanic(t *testing.T) {
	var logs bytes.Buffer
	old := slog.Default()
	defer slog.SetDefault(old)
	slog.SetDefault(slog.New(slog.NewTextHandler(&logs, nil)))
	for _, c := range []*ctxreq.Config{
		{Show: func(string, string) bool { panic("show") }},
		{Hide: func(string, string) bool { panic("hide") }},
	} {
		report := reported(t, c, httptest.NewRequest("GET", "/?page=2&x=abc&y=def", nil))
		require.NotContains(t, report.Request.URL.String(), "abc")
		require.Equal(t, c.Show != nil, strings.Contains(report.Request.URL.String(), "page=2"))
	}
	require.Equal(t, 1, strings.Count(logs.String(), "Config.Show panicked"), "it is logged once")
	require.Equal(t, 1, strings.Count(logs.String(), "Config.Hide panicked"))
}

// An error of the program that wraps ErrEnded is scrubbed; only the package's own text is not.
func TestWrappedErrEndedIsScrubbed(t *testing.T) {
	rec := new(recorder)
	_, s := (&ctxreq.Config{Reporter: rec}).Start(context.Background(), "job")
	s.Report(fmt.Errorf("token=hunter2: %w", ctxreq.ErrEnded))
	s.Report(ctxreq.ErrEnded)
	require.NoError(t, s.End(nil))
	require.Equal(t, "token=[hidden:token:7]: ctxreq: the scope has ended", rec.all()[0].Err.Error())
	require.ErrorIs(t, rec.all()[0].Err, ctxreq.ErrEnded)
	require.True(t, rec.all()[1].Err == ctxreq.ErrEnded)
}

func TestSnapshotIsBoundedAndSaysSo(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	for i := range 10 {
		r.Header.Set(fmt.Sprint("X-Big-", i), strings.Repeat("x", 4<<10))
	}
	report := reported(t, &ctxreq.Config{Show: func(string, string) bool { return true }}, r)
	size := 0
	for _, values := range report.Request.Header {
		size += len(values[0])
	}
	require.LessOrEqual(t, size, 16<<10)
	require.Greater(t, size, 8<<10)
	require.Equal(t, 10, report.Omitted+len(report.Request.Header))
	require.Positive(t, report.Omitted)
}

// TestReportSharesNoMemoryWithTheRequest gives a request whose strings are all cut from one, as the
// server's are, and looks for it in the report.
func TestReportSharesNoMemoryWithTheRequest(t *testing.T) {
	raw := strings.Repeat("x", 1<<10) + "/users/7page=2BREWX-NameNamevalueHTTP/1.1req-1theme=darkhttp://x.test/?page=1&a=b10.0.0.1:80x.test"
	cut := func(s string) string {
		i := strings.LastIndex(raw, s)
		return raw[i : i+len(s)]
	}
	for name, show := range map[string]bool{"what is listed": false, "everything": true} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", strings.NewReader("body"))
			r.Method, r.Proto, r.RemoteAddr, r.Host = cut("BREW"), cut("HTTP/1.1"), cut("10.0.0.1:80"), cut("x.test")
			r.URL = &url.URL{Path: cut("/users/7"), RawQuery: cut("page=2"), Host: cut("x.test")}
			r.Header = http.Header{cut("X-Name"): {cut("value")}, "X-Request-Id": {cut("req-1")}, "Cookie": {cut("theme=dark")}, "Referer": {cut("http://x.test/?page=1&a=b")}}
			report := reported(t, &ctxreq.Config{BodyCapture: 8, Show: func(string, string) bool { return show }}, r)
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
		})
	}
}

// FuzzNoPlantedSecretComesOut plants a secret in a place of the table, beside a random header.
func FuzzNoPlantedSecretComesOut(f *testing.F) {
	table := readTable(f, "secrets.txt")
	f.Add(uint16(0), "correct horse battery staple", "X-Noise", "noise=1; other=2")
	f.Add(uint16(150), "a;b,c=d&e?f%41", "Referer", "?a=b&c")
	f.Add(uint16(300), "s3cr3t-Value", "Cookie", "theme=dark")
	f.Add(uint16(400), "0 00", "0", "0")
	f.Fuzz(func(t *testing.T, place uint16, random, name, noise string) {
		row := table[int(place)%len(table)]
		// A marker that no encoding changes, in the middle of what is random.
		const marker = "Pl4ntedS3cr3t"
		secret := random[:len(random)/2] + marker + random[len(random)/2:]
		secret = strings.Map(func(r rune) rune {
			if r < '0' || r > 'z' || strings.ContainsRune("\\^?;<>=`", r) {
				return -1 // a character that would end the value, or its escape, in this place
			}
			return r
		}, secret)
		if literal.MatchString(row.text) {
			return
		}
		row.text = strings.NewReplacer("{S}", secret, "{R}", secret, "{B}", base64.StdEncoding.EncodeToString([]byte("user:"+secret))).Replace(row.text)
		r, failure := row.request()
		if !strings.EqualFold(name, "Host") {
			r.Header.Add(name, noise)
		}
		if text := shown(r, failure); leaks(text, marker) {
			t.Errorf("%s %q came out: %s", row.place, row.text, text)
		}
	})
}
