package recipes

import (
	"math/big"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/guregu/null/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func ref[T any](v T) *T { return &v }

var moment = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func TestRows(t *testing.T) {
	id := uuid.MustParse("00010203-0405-0607-0809-0a0b0c0d0e0f")
	row := AccountRow{
		pgtype.UUID{Bytes: id, Valid: true},
		pgtype.Text{String: "Ada", Valid: true},
		pgtype.Numeric{Int: big.NewInt(1205), Exp: -2, Valid: true},
		pgtype.Timestamptz{Time: moment, Valid: true},
	}
	got, err := FromRow.Map(row)
	require.NoError(t, err)
	balance := decimal.RequireFromString("12.05")
	assert.Equal(t, AccountDTO{id.String(), ref("Ada"), balance, &moment}, got)
	got, err = FromRow.Map(AccountRow{})
	require.NoError(t, err)
	assert.Equal(t, AccountDTO{}, got)
	row.Balance.InfinityModifier = pgtype.Infinity
	_, err = FromRow.Map(row)
	assert.EqualError(t, err,
		"mapper: Balance: pgtype.Numeric to decimal.Decimal: the number is not finite")
	infinite := pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	_, err = FromRow.Map(AccountRow{Deleted: infinite})
	assert.ErrorContains(t, err, "Deleted: pgtype.Timestamptz to *time.Time: "+
		"the source has more than one value in it")
}

func TestModels(t *testing.T) {
	model := UserModel{gorm.Model{
		ID:        5,
		CreatedAt: moment,
		DeletedAt: gorm.DeletedAt{Time: moment, Valid: true},
	}, "u7", null.StringFrom("ada")}
	dto, err := FromModel.Map(model)
	require.NoError(t, err)
	assert.Equal(t, UserDTO{"u7", ref("ada"), moment, &moment}, dto)
	back := UserModel{Model: gorm.Model{ID: 5}}
	require.NoError(t, ToModel.Into(&back, &dto))
	assert.Equal(t, model, back)
	dto, err = FromModel.Map(UserModel{})
	require.NoError(t, err)
	assert.Equal(t, UserDTO{}, dto)
}

func TestMessages(t *testing.T) {
	for _, e := range []Event{
		{At: moment, Seen: &moment, Text: ref("x")},
		{At: moment, Num: ref(1.5)},
		{At: moment},
	} {
		m, err := ToMessage.Map(e)
		require.NoError(t, err)
		back, err := FromMessage.Map(m)
		require.NoError(t, err)
		assert.Equal(t, e, back)
		message, err := ToValue.Map(e)
		require.NoError(t, err)
		assert.Equal(t, m.Payload.GetStringValue(), message.GetStringValue())
		assert.Equal(t, m.Payload.GetNumberValue(), message.GetNumberValue())
	}
	m, err := ToMessage.Map(Event{})
	require.NoError(t, err)
	assert.Nil(t, m.Seen)
}
