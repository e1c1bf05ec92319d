// Package recipes maps types of other packages that are common in entities and messages: protobuf,
// pgx, gorm, guregu/null, google/uuid and shopspring/decimal.
package recipes

import (
	"fmt"
	"time"

	"github.com/guregu/null/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/leaksafe/leaksafe/mapper"
	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"gorm.io/gorm"
)

// AccountDTO is what the service answers with. Absent values are nil.
type AccountDTO struct {
	ID      string
	Name    *string
	Balance decimal.Decimal
	Deleted *time.Time
}

// AccountRow is a row as sqlc and pgx make it.
type AccountRow struct {
	ID      pgtype.UUID
	Name    pgtype.Text
	Balance pgtype.Numeric
	Deleted pgtype.Timestamptz
}

// FromRow maps pgtype's nulls by their shape. A UUID becomes text by its String method. Decimals
// are immutable, so they are assigned. A Numeric needs a function, because it may be infinite.
var FromRow = mapper.Must[AccountRow, AccountDTO](
	mapper.Options{Stringer: true, Assign: []any{decimal.Decimal{}}},
	mapper.Convert(func(n pgtype.Numeric) (decimal.Decimal, error) {
		switch {
		case !n.Valid:
			return decimal.Decimal{}, nil
		case n.NaN || n.InfinityModifier != pgtype.Finite:
			return decimal.Decimal{}, notFinite
		}
		return decimal.NewFromBigInt(n.Int, n.Exp), nil
	}),
)

// notFinite is an error whose text holds no values, so that the Mapper's errors show it.
const notFinite safeError = "the number is not finite"

type safeError string

func (e safeError) Error() string { return string(e) }

// Safe says that the text holds no values.
func (safeError) Safe() bool { return true }

// UserModel is a gorm model with an ID field of its own, which hides the ID of gorm.Model.
type UserModel struct {
	gorm.Model
	ID   string
	Nick null.String
}

type UserDTO struct {
	ID        string
	Nick      *string
	CreatedAt time.Time
	DeletedAt *time.Time
}

// FromModel and ToModel: promoted fields count as fields, hidden ones do not. Lenient leaves
// UpdatedAt, which the DTO does not have.
var (
	FromModel = mapper.Must[UserModel, UserDTO]()
	ToModel   = mapper.Must[UserDTO, UserModel](mapper.Lenient())
)

// Event is a record that is sent as a message of protobuf's well-known types.
type Event struct {
	At   time.Time
	Seen *time.Time
	Text *string
	Num  *float64
}

// EventMessage is like a generated message. A generated message also has unexported fields, which a
// Mapper ignores.
type EventMessage struct {
	At      *timestamppb.Timestamp
	Seen    *timestamppb.Timestamp
	Payload *structpb.Value // a message with a oneof
}

// ToMessage has one function for each pair of types with a Timestamp. The type of the oneof has no
// exported name, so its field is ignored, and After sets it.
var ToMessage = mapper.Must[Event, EventMessage](
	mapper.Convert(func(t time.Time) (*timestamppb.Timestamp, error) {
		return timestamppb.New(t), nil
	}),
	mapper.Convert(func(t *time.Time) (*timestamppb.Timestamp, error) {
		if t == nil {
			return nil, nil
		}
		return timestamppb.New(*t), nil
	}),
	mapper.Set(func(m *EventMessage) **structpb.Value { return &m.Payload }, payload),
)

func payload(e Event) *structpb.Value {
	switch {
	case e.Text != nil:
		return structpb.NewStringValue(*e.Text)
	case e.Num != nil:
		return structpb.NewNumberValue(*e.Num)
	}
	return nil
}

// FromMessage reads the oneof through the message's getters.
var FromMessage = mapper.Must[EventMessage, Event](
	mapper.Convert(func(t *timestamppb.Timestamp) (time.Time, error) {
		return t.AsTime(), t.CheckValid()
	}),
	mapper.Convert(func(t *timestamppb.Timestamp) (*time.Time, error) {
		if t == nil {
			return nil, nil
		}
		at := t.AsTime()
		return &at, t.CheckValid()
	}),
	mapper.SetErr(func(e *Event) **string {
		return &e.Text
	}, func(m EventMessage) (*string, error) {
		switch v := m.Payload.GetKind().(type) {
		case *structpb.Value_StringValue:
			return &v.StringValue, nil
		case *structpb.Value_NumberValue, nil:
			return nil, nil
		default:
			return nil, fmt.Errorf("a payload of type %T", v)
		}
	}),
	mapper.Set(func(e *Event) **float64 { return &e.Num }, func(m EventMessage) *float64 {
		if v, ok := m.Payload.GetKind().(*structpb.Value_NumberValue); ok {
			return &v.NumberValue
		}
		return nil
	}),
)

// ToValue fills a message whose own field is the oneof.
var ToValue = mapper.Must[Event, structpb.Value](
	mapper.Ignore(func(v *structpb.Value) any { return &v.Kind }),
	mapper.After(func(v *structpb.Value, e Event) error {
		v.Kind = payload(e).GetKind()
		return nil
	}),
)
