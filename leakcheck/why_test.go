package leakcheck_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

type whyStore struct{ items map[string]*whyEntry }

type whyEntry struct {
	key string
	buf []byte
}

var whyDefault = &whyStore{items: map[string]*whyEntry{}}

func TestWhyAliveNamesTheVariableThoughTheCallerUsesTheObject(t *testing.T) {
	testgate.Seconds(t)
	e := &whyEntry{key: "x", buf: make([]byte, 100)}
	whyDefault.items["some key"] = e
	defer clear(whyDefault.items)

	p, err := leakcheck.WhyAlive(e)
	require.NoError(t, err)
	t.Log("\n" + p.String())
	assert.Equal(t, `leakcheck_test.whyDefault.items["some key"]`, p.Expr)
	assert.Contains(t, p.Answer, "retained by package variable leakcheck_test.whyDefault")
	assert.Equal(t, "x", e.key)
	p, err = leakcheck.WhyAlive(&e.buf[0])
	require.NoError(t, err)
	t.Log("\n" + p.String())
	assert.Equal(t, `leakcheck_test.whyDefault.items["some key"].buf`, p.Expr)
}
