package symbols

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWithoutShapes(t *testing.T) {
	for name, want := range map[string]string{
		"app.Put": "app.Put",
		"app.Put[go.shape.int,go.shape.[]string].func1":              "app.Put[...].func1",
		"app.(*Box[go.shape.struct { app.n [40]int }]).Later":        "app.(*Box[...]).Later",
		"app.(*Box[go.shape.int]).Map[go.shape.map[int]int].func1.1": "app.(*Box[...]).Map[...].func1.1",
	} {
		assert.Equal(t, want, withoutShapes(name))
	}
}
