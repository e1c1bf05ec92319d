package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"firebase.google.com/go/v4/messaging"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/transform"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/leaksafe/leaksafe/pool"
)

// An event is what the gateway sends: fields separated by ASCII's unit
// separator, in EUC-KR. Its fields are views into the buffer it was decoded into.
type event struct {
	ID, Token, Title, Body, Phone []byte
}

const separator = 0x1f

// buffers hold events until their outcome is known. They contain personal data, so a buffer is
// cleared when it is released.
var buffers = pool.NewBytes(pool.Options{Secret: true})

// decode turns a message from the wire into an event. The caller releases the
// buffer when the event is done with.
func decode(wire []byte) (event, pool.Buffer, error) {
	// A byte that is not valid EUC-KR becomes the replacement character, which has three bytes.
	buf := buffers.Get(3 * len(wire))
	n, _, err := korean.EUCKR.NewDecoder().Transform(buf.Bytes(), wire, true)
	if err != nil && !errors.Is(err, transform.ErrEndOfSpan) {
		buf.Release()
		return event{}, pool.Buffer{}, err
	}
	fields := bytes.Split(buf.Slice(0, n), []byte{separator})
	if len(fields) != 5 || len(fields[0]) == 0 || len(fields[1]) == 0 {
		buf.Release()
		return event{}, pool.Buffer{}, fmt.Errorf(
			"an event has five fields, with an id and a token; this has %d", len(fields))
	}
	return event{fields[0], fields[1], fields[2], fields[3], fields[4]}, buf, nil
}

// encode is what the gateway does: the n-th distinct event.
func encode(n int) ([]byte, error) {
	token := fmt.Sprintf("device-%06d", n)
	if n%1000 == 7 {
		token = fmt.Sprintf("gone-%06d", n)
	}
	body := strings.Repeat(fmt.Sprintf("고객님의 주문 %d번이 출발했습니다. ", n), 12)
	fields := []string{fmt.Sprint(n), token, "배송 알림", body, fmt.Sprintf("010-%08d", n)}
	text := strings.Join(fields, string(rune(separator)))
	return korean.EUCKR.NewEncoder().Bytes([]byte(text))
}

// toMessage copies the fields that FCM needs out of the buffer. The phone number is not one of
// them.
var toMessage = mapper.Must[event, messaging.Message](
	mapper.Lenient(), // a Message has many more fields, all optional
	mapper.Set(func(m *messaging.Message) *string {
		return &m.Token
	}, func(e event) string {
		return string(e.Token)
	}),
	mapper.Set(func(m *messaging.Message) *string {
		return &m.Notification.Title
	}, func(e event) string {
		return string(e.Title)
	}),
	mapper.Set(func(m *messaging.Message) *string {
		return &m.Notification.Body
	}, func(e event) string {
		return string(e.Body)
	}),
	mapper.Set(func(m *messaging.Message) *map[string]string {
		return &m.Data
	}, func(e event) map[string]string {
		return map[string]string{"id": string(e.ID)}
	}),
)
