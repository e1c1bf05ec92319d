package mapper_test

import (
	"testing"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	Named2  struct{ ID, Name string }
	Audit   struct{ By, Name string }
	Shadows struct {
		Named2
		ID string
	}
	ShadowDTO struct{ ID, Name string }
	TwoNames  struct {
		Named2
		Audit
	}
	TwoNamesDTO struct{ ID, Name, By string }
	Numbered    struct{ ID uint }
	Entity      struct { // the ID of the embedded struct has another type
		Numbered
		ID, Name string
	}
)

// TestShadowedFields maps from and to structs whose outer fields hide promoted ones, by Go's rules.
func TestShadowedFields(t *testing.T) {
	eachWay(t, mapper.Must[ShadowDTO, Shadows](), func(t *testing.T, mapTo func(ShadowDTO) (Shadows, error)) {
		got, err := mapTo(ShadowDTO{"7", "n"})
		require.NoError(t, err)
		assert.Equal(t, Shadows{Named2{"", "n"}, "7"}, got, "the hidden ID is unchanged")
	})
	eachWay(t, mapper.Must[Shadows, ShadowDTO](), func(t *testing.T, mapTo func(Shadows) (ShadowDTO, error)) {
		got, err := mapTo(Shadows{Named2{"hidden", "n"}, "7"})
		require.NoError(t, err)
		assert.Equal(t, ShadowDTO{"7", "n"}, got)
	})
	got, err := mapper.Map[Entity](ShadowDTO{"7", "n"})
	require.NoError(t, err, "a hidden field need not map")
	assert.Equal(t, Entity{Numbered{}, "7", "n"}, got)
	d := Shadows{Named2{ID: "kept"}, ""}
	require.NoError(t, mapper.Must[ShadowDTO, Shadows]().Into(&d, &ShadowDTO{"7", "n"}))
	assert.Equal(t, "kept", d.Named2.ID)
	bound := mapper.Must[ShadowDTO, Shadows](mapper.Bind(func(s *Shadows) *string { return &s.Named2.ID }, func(s *ShadowDTO) *string { return &s.ID }))
	s, err := bound.Map(ShadowDTO{"7", "n"})
	require.NoError(t, err)
	assert.Equal(t, Shadows{Named2{"7", "n"}, "7"}, s, "a selector can choose a hidden field")
}

// TestAmbiguousFields has two promoted fields of one name at one depth, on each side.
func TestAmbiguousFields(t *testing.T) {
	_, err := mapper.New[TwoNames, TwoNamesDTO]()
	assert.ErrorContains(t, err, "mapper_test.TwoNames has 2 fields that could fill it, Named2.Name and Audit.Name")
	_, err = mapper.New[TwoNamesDTO, TwoNames]()
	assert.ErrorContains(t, err, "mapper_test.TwoNames has 2 fields Name, Named2.Name and Audit.Name, and Go promotes none")
	got, err := mapper.Must[TwoNamesDTO, TwoNames](mapper.Lenient()).Map(TwoNamesDTO{"1", "x", "me"})
	require.NoError(t, err)
	assert.Equal(t, TwoNames{Named2{"1", ""}, Audit{"me", ""}}, got)
	chosen := mapper.Must[TwoNamesDTO, TwoNames](
		mapper.Bind(func(d *TwoNames) *string { return &d.Named2.Name }, func(s *TwoNamesDTO) *string { return &s.Name }),
		mapper.Ignore(func(d *TwoNames) *string { return &d.Audit.Name }))
	got, err = chosen.Map(TwoNamesDTO{"1", "x", "me"})
	require.NoError(t, err)
	assert.Equal(t, TwoNames{Named2{"1", "x"}, Audit{"me", ""}}, got)
	same, err := mapper.Map[struct {
		Audit
		Named2
	}](TwoNames{Named2{"1", "x"}, Audit{"me", "y"}})
	require.NoError(t, err, "embedded structs that both have map as wholes")
	assert.Equal(t, "y", same.Audit.Name)
	deeper, err := mapper.Map[TwoNamesDTO](struct {
		TwoNames
		Name string
	}{TwoNames{Named2{"1", "x"}, Audit{"me", "y"}}, "outer"})
	require.NoError(t, err, "an outer field hides both")
	assert.Equal(t, TwoNamesDTO{"1", "outer", "me"}, deeper)
}

// TestTaggedNames checks that tags decide which field hides another, as in encoding/json.
func TestTaggedNames(t *testing.T) {
	type Base struct {
		ID   string `json:"base_id"`
		Name string
	}
	type src struct {
		Base
		ID string `json:"id"`
	}
	type dst struct {
		Own   string `json:"id"`
		Inner string `json:"base_id"`
		Name  string
	}
	got, err := mapper.Must[src, dst](mapper.Tag("json")).Map(src{Base{"b", "n"}, "o"})
	require.NoError(t, err)
	assert.Equal(t, dst{"o", "b", "n"}, got)
	type embeds struct {
		Base `json:"base"`
	}
	type holds struct {
		B Base `json:"base"`
	}
	held, err := mapper.Must[embeds, holds](mapper.Tag("json")).Map(embeds{Base{"b", "n"}})
	require.NoError(t, err)
	assert.Equal(t, holds{Base{"b", "n"}}, held, "an embedded struct with a tag is a field")
	type Titled struct {
		X string `json:"Name"`
	}
	type tie struct {
		Named2
		Titled
	}
	type name struct{ Name string }
	eachWay(t, mapper.Must[tie, name](mapper.Tag("json")), func(t *testing.T, mapTo func(tie) (name, error)) {
		got, err := mapTo(tie{Named2{"1", "untagged"}, Titled{"tagged"}})
		require.NoError(t, err)
		assert.Equal(t, name{"tagged"}, got, "of two at one depth, the one with a tag")
	})
	type inner struct{ ID, Name string }
	type named struct {
		inner `json:"base"`
		Y     int
	}
	type exported struct {
		Base Named2 `json:"base"`
		Y    int
	}
	tagged := mapper.Tag("json")
	eachWay(t, mapper.Must[named, exported](tagged), func(t *testing.T, mapTo func(named) (exported, error)) {
		got, err := mapTo(named{inner{"b", "n"}, 1})
		require.NoError(t, err)
		assert.Equal(t, exported{Named2{"b", "n"}, 1}, got, "even if its type is not exported")
	})
	eachWay(t, mapper.Must[exported, named](tagged), func(t *testing.T, mapTo func(exported) (named, error)) {
		got, err := mapTo(exported{Named2{"b", "n"}, 1})
		require.NoError(t, err)
		assert.Equal(t, named{inner{"b", "n"}, 1}, got)
	})
	_, err = mapper.New[struct{ Y int }, named](tagged)
	assert.ErrorContains(t, err, "has no field base")
	_, err = mapper.New[struct{ Name, ID string }, dst](mapper.Tag("json"), mapper.Tag("db"))
	assert.ErrorContains(t, err, "two Tag options name the keys json and db")
}
