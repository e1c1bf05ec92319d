package mapper_test

import (
	"testing"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type textSrc struct {
	A, Name string
	P       *[4]int
	L       []string
}

type textDst struct {
	L       []string
	P       *[4]int
	Name, A string
}

var (
	flatTexts = mapper.Must[struct{ A, Name string }, struct{ Name, A string }]()
	texts     = mapper.Must[textSrc, textDst]()
)

// The functions below build a source that the compiler would keep on the stack if it could, with
// its strings. They return a result that must not refer to that stack.
//
//go:noinline
func stackedMap(b []byte) (string, error) {
	d, err := flatTexts.Map(struct{ A, Name string }{"x", string(b)})
	return d.Name, err
}

//go:noinline
func stackedInto(b []byte) (d struct{ Name, A string }, err error) {
	s := struct{ A, Name string }{"x", string(b)}
	err = flatTexts.Into(&d, &s)
	return d, err
}

//go:noinline
func stackedDeep(b []byte) (textDst, error) {
	list := [1]string{string(b)}
	return texts.Map(textSrc{Name: string(b), P: &[4]int{1, 2, 3, 4}, L: list[:]})
}

//go:noinline
func stackedSlice(b []byte) (any, error) {
	s := [2]struct{ A, Name string }{{"x", string(b)}, {"y", string(b)}}
	d, err := flatTexts.Slice(s[:])
	return d[1].Name, err
}

//go:noinline
func stackedPackage(b []byte) (string, error) {
	d, err := mapper.Map[struct{ Name, A string }](struct{ A, Name string }{"x", string(b)})
	return d.Name, err
}

//go:noinline
func burn(n int) int {
	var a [256]int
	for i := range a {
		a[i] = ^n
	}
	if n > 0 {
		return burn(n-1) + a[n%256]
	}
	return a[0]
}

// TestResultsDoNotReferToTheStack uses the stack again after a call, and looks at the result.
func TestResultsDoNotReferToTheStack(t *testing.T) {
	b := []byte("hello")
	for name, run := range map[string]func() (any, error){
		"Map":     func() (any, error) { return stackedMap(b) },
		"Slice":   func() (any, error) { return stackedSlice(b) },
		"package": func() (any, error) { return stackedPackage(b) },
		"Into": func() (any, error) {
			d, err := stackedInto(b)
			burn(100)
			return d.Name, err
		},
		"deep": func() (any, error) {
			d, err := stackedDeep(b)
			burn(100)
			assert.Equal(t, &[4]int{1, 2, 3, 4}, d.P)
			assert.Equal(t, []string{"hello"}, d.L)
			return d.Name, err
		},
	} {
		got, err := run()
		burn(100)
		require.NoError(t, err, name)
		assert.Equal(t, "hello", got, name)
	}
}

type keepsDst struct {
	P *[4]int
	N int
}

var (
	keptDst *keepsDst
	keeping = mapper.Must[struct{ N int }, keepsDst](mapper.Lenient(), mapper.After(func(d *keepsDst, _ struct{ N int }) error {
		keptDst = d
		return nil
	}))
)

//go:noinline
func stackedDst(n int) int {
	d := keepsDst{P: &[4]int{n, n, n, n}}
	if keeping.Into(&d, &struct{ N int }{n}) != nil {
		return 0
	}
	return d.P[0]
}

// TestAfterDoesNotSeeTheStack keeps the pointer that After got, and what it refers to.
func TestAfterDoesNotSeeTheStack(t *testing.T) {
	require.Equal(t, 7, stackedDst(7))
	burn(100)
	assert.Equal(t, &keepsDst{P: &[4]int{7, 7, 7, 7}, N: 7}, keptDst)
	keptDst = nil
}
