package recipes

import (
	"database/sql"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/guregu/null/v5"
	"github.com/guregu/null/v5/zero"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/leaksafe/leaksafe/mapper"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"gorm.io/gorm"
)

type defined sql.NullTime

// TestNulls maps nulls of other packages without a Convert.
func TestNulls(t *testing.T) {
	stringer := []mapper.Option{mapper.Options{Stringer: true}}
	getter := []mapper.Option{mapper.Convert(func(w *wrapperspb.StringValue) (*string, error) {
		return ref(w.GetValue()), nil
	})}
	whole := []mapper.Option{mapper.Options{
		Assign: []any{(*timestamppb.Timestamp)(nil), decimal.Decimal{}},
	}}
	id := uuid.MustParse("00010203-0405-0607-0809-0a0b0c0d0e0f")
	validUUID, pgUUID := uuid.NullUUID{UUID: id, Valid: true}, pgtype.UUID{Bytes: id, Valid: true}
	validText := pgtype.Text{String: "a", Valid: true}
	validTime := pgtype.Timestamptz{Time: moment, Valid: true}
	deleted := gorm.DeletedAt{Time: moment, Valid: true}
	timestamp := timestamppb.New(moment)
	price := decimal.RequireFromString("1.50")
	prices := []decimal.Decimal{decimal.New(5, 0)}
	for name, c := range map[string]struct {
		src, want any
		opts      []mapper.Option
	}{
		"sql.NullString invalid to *string":  {sql.NullString{}, (*string)(nil), nil},
		"null.String invalid to *string":     {null.String{}, (*string)(nil), nil},
		"null.String to *string":             {null.StringFrom("x"), ref("x"), nil},
		"null.Int invalid to string":         {null.Int{}, "", nil},
		"null.Int invalid to *string":        {null.Int{}, (*string)(nil), nil},
		"null.Int to *string":                {null.IntFrom(4), ref("4"), nil},
		"null.Int to *int64":                 {null.IntFrom(4), ref(int64(4)), nil},
		"null.Time invalid to *string":       {null.Time{}, (*string)(nil), nil},
		"null.Value to value":                {null.ValueFrom(uint8(4)), 4, nil},
		"zero.String to *string":             {zero.StringFrom("x"), ref("x"), nil},
		"*string to null.String":             {ref("x"), null.StringFrom("x"), nil},
		"nil to null.String":                 {(*string)(nil), null.String{}, nil},
		"uuid.NullUUID invalid to *string":   {uuid.NullUUID{}, (*string)(nil), nil},
		"uuid.NullUUID invalid to string":    {uuid.NullUUID{}, "", nil},
		"uuid.NullUUID to *string":           {validUUID, ref(id.String()), nil},
		"uuid.NullUUID invalid to *uuid":     {uuid.NullUUID{}, (*uuid.UUID)(nil), nil},
		"nil to uuid.NullUUID":               {(*string)(nil), uuid.NullUUID{}, nil},
		"text to uuid.NullUUID":              {id.String(), validUUID, nil},
		"pgtype.Text to *string":             {validText, ref("a"), nil},
		"pgtype.Text to null.String":         {validText, null.StringFrom("a"), nil},
		"pgtype.Int4 to *int":                {pgtype.Int4{Int32: 4, Valid: true}, ref(4), nil},
		"*int to pgtype.Int8":                {ref(4), pgtype.Int8{Int64: 4, Valid: true}, nil},
		"pgtype.UUID to uuid":                {pgUUID, ref(id), nil},
		"pgtype.UUID to string":              {pgUUID, id.String(), stringer},
		"pgtype.UUID invalid to *string":     {pgtype.UUID{}, (*string)(nil), stringer},
		"uuid to pgtype.UUID":                {id, pgUUID, nil},
		"pgtype.Timestamptz to *time.Time":   {validTime, &moment, nil},
		"pgtype.Timestamptz invalid":         {pgtype.Timestamptz{}, (*time.Time)(nil), nil},
		"pgtype.Date from time":              {moment, pgtype.Date{Time: moment, Valid: true}, nil},
		"gorm.DeletedAt invalid":             {gorm.DeletedAt{}, (*time.Time)(nil), nil},
		"gorm.DeletedAt to *time.Time":       {deleted, &moment, nil},
		"gorm.DeletedAt to sql.NullTime":     {deleted, sql.NullTime(deleted), nil},
		"gorm.DeletedAt to itself":           {deleted, deleted, nil},
		"sql.Null[time.Time] to *time.Time":  {sql.Null[time.Time]{}, (*time.Time)(nil), nil},
		"type defined on sql.NullTime":       {defined{}, (*time.Time)(nil), nil},
		"decimal.NullDecimal to *string":     {decimal.NullDecimal{}, (*string)(nil), nil},
		"decimal.NullDecimal valid to text":  {decimal.NewNullDecimal(price), "1.5", nil},
		"text to decimal.Decimal":            {"1.5", decimal.RequireFromString("1.5"), nil},
		"wrapperspb.StringValue, by getter":  {wrapperspb.String("x"), ref("x"), getter},
		"timestamppb.Timestamp to its own":   {timestamp, timestamp, whole},
		"decimal.Decimal to its own, a list": {prices, prices, whole},
	} {
		t.Run(name, func(t *testing.T) {
			m := mapper.Must[any, any](c.opts...)
			got := reflect.New(reflect.TypeOf(c.want))
			// MapAny follows one pointer: the source may be one.
			src := reflect.New(reflect.TypeOf(c.src))
			src.Elem().Set(reflect.ValueOf(c.src))
			require.NoError(t, m.MapAny(got.Interface(), src.Interface()))
			assert.Equal(t, c.want, got.Elem().Interface())
		})
	}
}
