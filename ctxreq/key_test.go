package ctxreq_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

var (
	owner   = ctxreq.NewKey[string]("test.owner")
	tenant  = ctxreq.NewKey[string]("test.tenant", ctxreq.Carry, ctxreq.Log)
	logged  = ctxreq.NewKey[string]("test.logged", ctxreq.Log)
	pin     = ctxreq.NewKey[string]("test.pin", ctxreq.Log)
	failure = ctxreq.NewKey[error]("test.failure", ctxreq.Carry)
)

func TestKey(t *testing.T) {
	ctx, s := ctxreq.Start(t.Context(), "scope")
	_, ok := owner.Get(ctx)
	require.False(t, ok)
	require.NoError(t, owner.Set(ctx, "one"))
	require.NoError(t, tenant.Set(ctx, "acme"))
	derived := context.WithValue(ctx, outsideKey{}, 1)
	v, ok := owner.Get(derived)
	require.True(t, ok)
	require.Equal(t, "one", v)
	require.NoError(t, owner.Set(derived, "two"), "set below, seen above")
	v, _ = owner.Get(ctx)
	require.Equal(t, "two", v)

	require.NoError(t, s.End(nil))
	_, ok = owner.Get(ctx)
	require.False(t, ok, "an ordinary value goes")
	v, ok = tenant.Get(ctx)
	require.True(t, ok, "a carried one stays")
	require.Equal(t, "acme", v)
	require.ErrorIs(t, owner.Set(ctx, "three"), ctxreq.ErrEnded)
}

func TestKeyOfAnInterfaceTypeKeepsNil(t *testing.T) {
	ctx, s := ctxreq.Start(t.Context(), "scope")
	_, ok := failure.Get(ctx)
	require.False(t, ok)
	require.NoError(t, failure.Set(ctx, nil))
	err, ok := failure.Get(ctx)
	require.True(t, ok)
	require.NoError(t, err)
	s.End(nil)
	_, ok = failure.Get(ctx)
	require.True(t, ok)
}

func TestKeyOfANestedScope(t *testing.T) {
	ctx, outer := ctxreq.Start(t.Context(), "outer")
	require.NoError(t, owner.Set(ctx, "outer"))
	require.NoError(t, tenant.Set(ctx, "acme"))
	nested, inner := ctxreq.Start(ctx, "inner")
	v, _ := owner.Get(nested)
	require.Equal(t, "outer", v, "inherited")
	require.NoError(t, owner.Set(nested, "inner"))
	v, _ = owner.Get(ctx)
	require.Equal(t, "outer", v, "and shadowed, not changed")
	inner.End(nil)
	v, _ = tenant.Get(nested)
	require.Equal(t, "acme", v, "a carried value of the outer scope stays too")
	outer.End(nil)
}

func TestMisuseOfKeys(t *testing.T) {
	assert.ErrorContains(t, owner.Set(t.Context(), ""), "no scope")
	var zero ctxreq.Key[int]
	assert.ErrorContains(t, zero.Set(t.Context(), 1), "NewKey")
	_, ok := zero.Get(t.Context())
	assert.False(t, ok)
	text := panicOf(func() { ctxreq.NewKey[int]("test.owner") })
	assert.Contains(t, text, `ctxreq: NewKey("test.owner") at `)
	assert.Contains(t, text, "the name is taken by ")
	assert.Contains(t, text, "key_test.go:", "it says where")
}

func TestRegistryIsBounded(t *testing.T) {
	defer ctxreq.RestoreKeys()()
	require.Contains(t, panicOf(func() {
		for i := range 1000 {
			ctxreq.NewKey[int](fmt.Sprint("per request ", i))
		}
	}), "there are 256 keys already; a key is a package-level variable")
}

var hideLines = regexp.MustCompile(`[^ ]*/[^ ]*\.go:\d+`)

var hideNumber = regexp.MustCompile(`request \d+`)

// sorted returns the keys of m.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// panicOf is what f panics with, as text.
func panicOf(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}

// registryFull is what NewKey says when there are too many keys.
func registryFull() string {
	defer ctxreq.RestoreKeys()()
	text := panicOf(func() {
		for i := range 1000 {
			ctxreq.NewKey[int](fmt.Sprint("request ", i))
		}
	})
	return hideNumber.ReplaceAllString(hideLines.ReplaceAllString(text, "FILE:LINE"), "request N")
}
