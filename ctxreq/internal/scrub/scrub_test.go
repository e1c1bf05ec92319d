package scrub_test

import (
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq/internal/scrub"
)

// A row is a value as it comes in, and as it is shown.
type row struct{ why, in, want string }

func check(t *testing.T, rows []row, show func(string) string) {
	t.Helper()
	for _, r := range rows {
		assert.Equal(t, r.want, show(r.in), r.why)
	}
}

func TestHiddenSaysKindAndLength(t *testing.T) {
	check(t, []row{
		{"a JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x", "[hidden:jwt:38]"},
		{"a UUID", "6f1c2d9e-8b7a-4f5e-9d3c-0a1b2c3d4e5f", "[hidden:uuid:36]"},
		{"a number", "483920", "[hidden:number:6]"},
		{"hexadecimal", "9f86d081884c7d65", "[hidden:hex:16]"},
		{"a URL", "https://x.test", "[hidden:url:14]"},
		{"JSON", `{"a":1}`, "[hidden:json:7]"},
		{"a word, and its length in bytes", "über", "[hidden:word:5]"},
		{"text", "two words", "[hidden:text:9]"},
		{"bytes", "\xff\x00", "[hidden:binary:2]"},
		{"anything else", "a-b_7", "[hidden:token:5]"},
	}, scrub.Hidden)
}

func TestHeader(t *testing.T) {
	var r scrub.Rules
	for _, h := range []struct{ why, name, in, want string }{
		{"a header of the protocol", "Accept", "text/html;q=0.8", "text/html;q=0.8"},
		{"q is a number", "Accept", "text/html;q=hunter2", "[hidden:token:19]"},
		{"a header that nobody listed", "X-Badge", "plain", "[hidden:word:5]"},
		{"a number in a listed header", "Content-Length", "12", "12"},
		{"a cookie's name is shown", "Cookie", "theme=dark; sid=abc", "theme=dark; sid=[hidden:word:3]"},
		{"a cookie without a name", "Cookie", "hunter2", "[hidden:token:7]"},
		{"a host with a token in a label", "Host", "k3y9f86d081884c7d65.x.test", "[hidden:token:26]"},
		{"a host", "Host", "api.example.com:8080", "api.example.com:8080"},
		{"a URL in a header", "Referer", "https://u:p@x.test/a?token=hunter2", "https://hidden@x.test/a?token=[hidden:token:7]"},
		{"a boundary", "Content-Type", "multipart/form-data; boundary=Zq7xK2vN9pL4", "multipart/form-data; boundary=[hidden:token:12]"},
		{"a value where the type belongs", "Content-Type", "hunter2=x; charset=utf-8", "[hidden:token:9]; charset=utf-8"},
		{"a separator in quotes", "Content-Disposition", `form-data; name="a;hunter2"`, "form-data; name=[hidden:token:9]"},
		{"no address of a client", "X-Forwarded-For", "10.0.0.1, hunter2", "[hidden:text:17]"},
		{"a protocol that nobody knows", "Sec-WebSocket-Protocol", "graphql-ws, hunter2", "[hidden:text:19]"},
		{"a sentence in a listed header", "User-Agent", "bot password hunter2", "[hidden:text:20]"},
		{"an ETag", "If-None-Match", `W/"67ab43"`, `W/"67ab43"`},
		{"an ETag that is none", "If-None-Match", `"token=hunter2"`, "[hidden:token:15]"},
		{"too small to be a secret", "X-Anything", "true", "true"},
	} {
		assert.Equal(t, h.want, r.Header(h.name, h.in), h.why)
	}
}

func TestText(t *testing.T) {
	check(t, []row{
		{"a sentence stays", "password is required", "password is required"},
		{"a word after token stays", "token expired", "token expired"},
		{"assigned", "user=ada password=swordfish", "user=ada password=[hidden:word:9]"},
		{"quoted after a secret word", `password "swordfish" is wrong`, `password "[hidden:word:9]" is wrong`},
		{"in the other quotes", "cookie 'swordfish' expired", "cookie '[hidden:word:9]' expired"},
		{"bare, no word", "token is hunter2", "token is [hidden:token:7]"},
		{"in brackets", "passphrase (hunter2)", "passphrase ([hidden:token:7])"},
		{"a kind of key", "api key: hunter2", "api key: [hidden:token:7]"},
		{"a database's key", "duplicate key value 4711", "duplicate key value 4711"},
		{"a short number", "pin must have 4 digits", "pin must have 4 digits"},
		{"an exit code", "exit code 255", "exit code 255"},
		{"a code that was sent", "code 483920 has expired", "code [hidden:number:6] has expired"},
		{"a command's flag", "curl -u ada:hunter2 x", "curl -u [hidden:token:11] x"},
		{"another flag", "mysql -p hunter2", "mysql -p [hidden:token:7]"},
		{"a directory", "mkdir -p dir", "mkdir -p dir"},
		{"a user and a password", "ada:hunter2@tcp(db)", "[hidden:token:12]tcp(db)"},
		{"a card", "card 4111 1111 1111 1111 declined", "card [hidden:text:19] declined"},
		{"a URL", "Get https://x.test/?key=hunter2: EOF", "Get https://x.test/?key=[hidden:token:7]: EOF"},
		{"a header ends with its line", "Authorization: Basic abc def\nnext", "Authorization: [hidden:text:13]\nnext"},
		{"a pointer", "at 0xc000012345", "at 0xc000012345"},
		{"what a machine made", "no row 9f86d081884c7d659a2feaa0c55ad015", "no row [hidden:hex:32]"},
		{"two of them", `token "abcd" or secret "efgh"`, `token "[hidden:word:4]" or secret "[hidden:word:4]"`},
		{"no UTF-8", "bad \xff", "bad \uFFFD"},
		{"JSON within quotes", `body "{\"token\":\"sword\\\"fish\",\"a\":1}"`, `body "{\"token\":[hidden:token:13],\"a\":1}"`},
		{"a quote within quotes", `password="a\"fish", b`, `password=[hidden:token:7], b`},
		{"a list", `{"secret":["a","b"],"c":1}`, `{"secret":[hidden:json:9],"c":1}`},
		{"a printed map", "map[Authorization:[Bearer swordfish] A:[b]]", "map[Authorization:[hidden:json:18] A:[b]]"},
		{"an element", "<Password a='b'>swordfish</Password><A>b</A>", "<Password a='b'>[hidden:word:9]</Password><A>b</A>"},
		{"an arrow", `:password => "swordfish"`, `:password => [hidden:word:9]`},
		{"a long option", "run --password swordfish -v", "run --password [hidden:word:9] -v"},
		{"a tool's option", "mysql -pswordfish db", "mysql -p[hidden:word:9] db"},
		{"commas in a value", "password=ab,cd&ef;gh user=ada", "password=[hidden:token:11] user=ada"},
		{"the next member", "password=ab,user=ada", "password=[hidden:word:2],user=ada"},
		{"the value of a field", "password: invalid value swordfish", "password: invalid value [hidden:word:9]"},
		{"another language", "Passwort lautet swordfish", "Passwort lautet [hidden:word:9]"},
		{"other quotes", "パスワード：「swordfish」", "パスワード：[hidden:token:15]"},
		{"a state", "token is expired: password is too short", "token is expired: password is too short"},
		{"a query without a host", "GET /x?page=2&token=swordfish", "GET /x?page=2&token=[hidden:word:9]"},
		{"a path", `Post "/reset/swordfish": EOF`, `Post "/reset/[hidden:word:9]": EOF`},
		{"a file", "open /run/secrets/db/token: bad format", "open /run/secrets/db/token: bad format"},
		{"a license", "key ABCD-12EF-GH34.", "key [hidden:token:14]."},
		{"nothing", "", ""},
	}, scrub.Rules{}.Text)
}

// The quick look at a text sees every credential that the expressions find.
func TestNoCredentialIsOverlooked(t *testing.T) {
	table, err := os.ReadFile("../../testdata/secrets.txt")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(table)) {
		for _, text := range append(strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune("\t\n {}\"`,=", c) }), line) {
			n++
			assert.False(t, scrub.Missed(text), text)
		}
	}
	require.Greater(t, n, 5000)
}

func TestPath(t *testing.T) {
	for _, p := range []struct{ why, path, pattern, want string }{
		{"words", "/api/v2/users", "", "/api/v2/users"},
		{"an id", "/users/483920", "", "/users/[hidden:number:6]"},
		{"net/http's pattern", "/users/7/posts", "GET /users/{id}/posts", "/users/{id}/posts"},
		{"gin's and echo's", "/users/7", "/users/:id", "/users/:id"},
		{"the rest of a path", "/f/a/b/c", "/f/{path...}", "/f/{path...}"},
		{"gin's rest", "/f/a/b/c", "/f/*path", "/f/*path"},
		{"a pattern of another path", "/users/hunter2", "/other/{x}", "/users/[hidden:token:7]"},
		{"a word after one that announces a secret", "/reset/swordfish", "", "/reset/[hidden:word:9]"},
		{"every segment after such a word", "/reset/ada/swordfish", "", "/reset/[hidden:word:3]/[hidden:word:9]"},
		{"a part of a segment", "/u/swordfish.json", "/u/{name}.json", "/u/{name}.json"},
		{"chi's expression", "/u/swordfish", "/u/{name:[a-z]+}", "/u/{name:[a-z]+}"},
		{"gorilla's expression over segments", "/f/a/swordfish/c", "/f/{rest:.*}", "/f/{rest:.*}"},
		{"and what follows", "/f/a/swordfish/edit", "/f/{rest:.*}/edit", "/f/{rest:.*}/edit"},
		{"a router below StripPrefix", "/api/u/swordfish", "/u/{name}", "/api/u/{name}"},
		{"of a variable alone", "/api/swordfish", "/{name}", "/api/{name}"},
		{"a last slash more", "/u/swordfish/", "/u/{name}", "/u/{name}/"},
		{"a last slash less", "/u/swordfish", "/u/{name}/", "/u/{name}"},
		{"a subtree", "/u/a/b", "/u/", "/u/a/b"},
		{"a subtree of everything", "/users/swordfish9", "/", "/users/[hidden:token:10]"},
		{"the end", "/u/", "/u/{$}", "/u/"},
		{"an empty rest", "/f/", "/f/{path...}", "/f/{path...}"},
		{"an empty segment", "//u/swordfish", "/u/{name}", "//u/{name}"},
		{"letters of another size", "/U/swordfish", "/u/{name}", "/U/{name}"},
		{"parameters in a segment", "/a;token=swordfish", "", "/[hidden:token:17]"},
		{"the root", "/", "", "/"},
		{"none", "", "", ""},
	} {
		assert.Equal(t, p.want, scrub.Rules{}.Path(p.path, p.pattern), p.why)
	}
}

func TestQuery(t *testing.T) {
	check(t, []row{
		{"order and escapes stay", "b=%41&page=2&a", "b=[hidden:word:1]&page=2&a"},
		{"an escaped name", "%70assword=x", "%70assword=[hidden:word:1]"},
		{"no escape", "a=%zz", "[hidden:token:5]"},
		{"a value in the place of a name", "Zq7xK2vN9pL4=1", "[hidden:token:12]=1"},
		{"a URL inside", "next=%2Fa%3Ftoken%3Dhunter2", "next=%2Fa%3Ftoken%3D%5Bhidden%3Atoken%3A7%5D"},
		{"empty pairs", "&&page=2", "&&page=2"},
		{"none", "", ""},
	}, scrub.Rules{}.Query)
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://ada:hunter2@x.test/a?page=2#token=hunter2": "https://hidden@x.test/a?page=2#token=[hidden:token:7]",
		"mailto:ada@x.test": "mailto:[hidden:token:10]",
		"//x.test/a":        "//x.test/a",
	} {
		u, err := url.Parse(in)
		require.NoError(t, err)
		assert.Equal(t, want, scrub.Rules{}.URL(u, "").String())
	}
}

func TestBody(t *testing.T) {
	var r scrub.Rules
	for _, b := range []struct{ why, media, in, want string }{
		{"JSON keeps its form", "application/json", `{"page": 2, "token":"hunter2"}`, `{"page": 2, "token":"[hidden:token:7]"}`},
		{"an array has its field's name", "application/json", `{"token":["a","b"]}`, `{"token":["[hidden:word:1]","[hidden:word:1]"]}`},
		{"cut within a string", "application/json", `{"page":2,"note":"hel`, `{"page":2,"note":"[hidden:word:3]"`},
		{"no JSON", "application/json", `{"page":2,oops}`, `{"page":2,[hidden:token:5]`},
		{"two documents", "application/x-ndjson", "{\"page\":2}\n{\"pin\":4839}", "{\"page\":2}\n{\"pin\":\"[hidden:number:4]\"}"},
		{"a form", "application/x-www-form-urlencoded", "page=2&pw=x", "page=2&pw=[hidden:word:1]"},
		{"parts", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"pw\"\r\n\r\nx\r\n--b--\r\n", "pw=[hidden:word:1]"},
		{"a part of a secret", "application/json", `{"a":[{"password":{"text":"swordfish"}}],"text":"swordfish"}`, `{"a":[{"password":{"text":"[hidden:word:9]"}}],"text":"swordfish"}`},
		{"the value of a named secret", "application/json", `{"text":"swordfish","name":"password"}`, `{"text":"[hidden:word:9]","name":"[hidden:word:8]"}`},
		{"anything else", "text/plain", "hello there", "[hidden:text:11]"},
		{"nothing", "application/json", "", ""},
	} {
		assert.Equal(t, b.want, r.Body(b.media, []byte(b.in)), b.why)
	}
	deep := strings.Repeat("[", 100) + `"hunter2"` + strings.Repeat("]", 100)
	assert.NotContains(t, r.Body("application/json", []byte(deep)), "hunter2", "deeper than the scanner goes")
}

func TestKey(t *testing.T) {
	type login struct {
		Name string
		Pin  int
		Next *login
	}
	r := scrub.Rules{}
	assert.Equal(t, "acme", r.Key("tenant", "acme"))
	assert.Equal(t, "[hidden:token:7]", r.Key("token", "hunter2"))
	assert.Equal(t, "{Name:ada Pin:[hidden:number:4] Next:{Name:[hidden:token:7] Pin:1 Next:<nil>}}", r.Key("login", &login{"ada", 4839, &login{"hunter2", 1, nil}}))
	assert.Equal(t, "map[token:[hidden:token:7]]", r.Key("m", map[string]any{"token": "hunter2"}))
	assert.Equal(t, "[hidden:binary:3]", r.Key("b", []byte("abc")))
	assert.Equal(t, "{user:ada password:[hidden:token:7] in:{pin:[hidden:number:4] n:12}}", r.Key("login", logged{"hunter2"}), "a group of slog")
	assert.Equal(t, "{token:[hidden:token:7]}", r.Key("list", []slog.Attr{slog.String("token", "hunter2")}), "a list of attributes")
	assert.Equal(t, "{text:[hidden:token:7]}", r.Key("password", slog.GroupValue(slog.String("text", "hunter2"))), "a part of a secret")
	assert.Equal(t, "{Password:{Text:[hidden:word:9]}}", r.Key("form", struct{ Password struct{ Text string } }{struct{ Text string }{"swordfish"}}), "a part of a secret")
	assert.Equal(t, "GET /reset/[hidden:word:9]", r.Key("line", "GET /reset/swordfish"), "prose")
	loop := &login{Name: "ada"}
	loop.Next = loop
	assert.Contains(t, r.Key("loop", loop), "…", "a cycle ends")
}

// A logged value says itself what a log shows of it.
type logged struct{ password string }

func (l logged) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", "ada"), slog.String("password", l.password), slog.Group("in", slog.Int("pin", 4839), slog.Int("n", 12)))
}

func TestRequestID(t *testing.T) {
	check(t, []row{
		{"an id", "req-1", "req-1"},
		{"a credential", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", ""},
		{"a line break", "a\nb", ""},
		{"too long", strings.Repeat("x", 129), ""},
	}, scrub.RequestID)
}

// Show and Hide get the name as the client wrote it, and the decoded value. Hide wins, and a
// credential stays hidden.
func TestRules(t *testing.T) {
	var asked []string
	r := scrub.Rules{
		Show: func(name, value string) bool { asked = append(asked, name+"="+value); return true },
		Hide: func(name, _ string) bool { return name == "page" },
	}
	assert.Equal(t, "X=a%20b&page=[hidden:number:2]&t=[hidden:token:24]", r.Query("X=a%20b&page=12&t=sk-abcdefghijklmnopqrstu"))
	assert.Equal(t, []string{"X=a b"}, asked, "nobody is asked about what is hidden anyway")
}
