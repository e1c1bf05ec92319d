package scrub_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq/internal/scrub"
)

// FuzzAnyText gives every function any text. None may panic, and a value that is assigned to a
// secret stays hidden whatever stands before and behind it on other lines.
func FuzzAnyText(f *testing.F) {
	for _, seed := range []string{"", `{"a":[{"token":"x`, `password="a\"b", c=[d]`, "/a/{b}/*", `map[Cookie:[a=b]]`, "<a><![CDATA[b", "a=b;c=\"d", "-u a:b", "「a", "%25%41", "?a=b&c[d]=e"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		var r scrub.Rules
		text := r.Text(a + "\n password=swordfish9 \n" + b)
		require.True(t, utf8.ValidString(text))
		if !strings.ContainsAny(a+b, "\"'`[{(<“„«「『‘\\") {
			require.NotContains(t, text, "swordfish9")
		}
		for _, text := range []string{a, b, a + b} {
			require.False(t, scrub.Missed(text), "%q", text)
		}
		r.Path(a, b)
		r.Query(a)
		r.Body(a, []byte(b))
		r.Header(a, b)
		r.Key(a, b)
		scrub.Name(a)
		scrub.RequestID(a)
		if u, err := url.Parse(a); err == nil {
			r.URL(u, b)
		}
	})
}
