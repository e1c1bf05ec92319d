package users

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func request(t testing.TB, body string, u *User) (status int, answer string) {
	w := httptest.NewRecorder()
	Patch(w, httptest.NewRequest(http.MethodPatch, "/", strings.NewReader(body)), u)
	return w.Code, w.Body.String()
}

func TestPatch(t *testing.T) {
	u := &User{1, "Ada", "Byron", "ada@example.com", "secret"}
	status, answer := request(t, `{"Last": "Lovelace", "Mail": ""}`, u)
	assert.Equal(t, 200, status)
	assert.Equal(t, `{"ID":1,"Name":"Ada Lovelace","Mail":""}`+"\n", answer)
	assert.Equal(t, &User{1, "Ada", "Lovelace", "", "secret"}, u)
	status, _ = request(t, `{"Last": 5}`, u)
	assert.Equal(t, 400, status)
}

func TestNothingGrows(t *testing.T) {
	u := &User{First: "Ada"}
	leakcheck.NoGrowth(t, func() { request(t, `{"Last": "Lovelace"}`, u) })
}

// registry is the leak: a Mapper is built for each request, and retained.
var registry []*mapper.Mapper[User, User]

func TestTheMistakeGrows(t *testing.T) {
	t.Cleanup(func() { registry = nil })
	leakcheck.MustDetect(t, func(t testing.TB) {
		u := &User{First: "Ada"}
		leakcheck.NoGrowth(t, func() {
			registry = append(registry, mapper.Must[User, User]())
			request(t, `{"Last": "Lovelace"}`, u)
		}, leakcheck.Iterations(2)) // a Mapper is thousands of objects: few operations show it
	})
}
