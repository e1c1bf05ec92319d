package scrub

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
)

// Key shows a value that the program itself chose to log. A single text or number is shown, unless
// its name or its form suggests a secret. The fields of a struct and the entries of a map are shown
// by the lists, like the fields of a request.
func (r Rules) Key(name string, v any) string {
	switch v := v.(type) {
	case slog.LogValuer:
		return r.logged(name, v.LogValue)
	case slog.Value:
		return r.logged(name, func() slog.Value { return v })
	case slog.Attr:
		return r.Key(v.Key, v.Value)
	case []slog.Attr:
		return r.logged(name, func() slog.Value { return slog.GroupValue(v...) })
	case error, fmt.Stringer:
		return r.scalar(name, r.Text(fmt.Sprint(v)))
	}
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	if composite(rv) {
		return r.tree(name, "", rv, 0)
	}
	text := fmt.Sprint(v)
	if rv.Kind() == reflect.String && strings.ContainsAny(text, " =:/") {
		text = r.Text(text)
	}
	return r.scalar(name, text)
}

// loggedValue is a LogValuer that slog resolves, with its bounds and its recovery.
type loggedValue func() slog.Value

func (f loggedValue) LogValue() slog.Value { return f() }

// logged shows what a slog.LogValuer returns. The attributes of a group are shown as keys.
func (r Rules) logged(name string, value loggedValue) string {
	v := slog.AnyValue(value).Resolve()
	if v.Kind() != slog.KindGroup {
		return r.Key(name, v.Any())
	}
	var parts []string
	for _, a := range v.Group() {
		shown := r.Key(a.Key, a.Value)
		if secretName(name) && !strings.HasPrefix(shown, "[hidden:") {
			shown = r.value(within(name, a.Key), shown)
		}
		parts = append(parts, Name(a.Key)+":"+shown)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func (r Rules) scalar(name, text string) string {
	hide := r.Hide != nil && r.Hide(name, text) || !tiny(text) && (secretName(name) || credential(text))
	if hide && !(r.Show != nil && r.Show(name, text) && !credential(text)) {
		return Hidden(text)
	}
	return strings.Clone(text)
}

func composite(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Array:
		return true
	}
	return false
}

// tree formats a value that has parts; each part is shown or hidden by its name, and by the name of
// a secret that it is part of.
func (r Rules) tree(name, secret string, v reflect.Value, depth int) string {
	const maxParts = 32
	var parts []string
	add := func(label, text string) bool {
		if len(parts) == maxParts {
			parts = append(parts, "…")
			return false
		}
		parts = append(parts, label+text)
		return true
	}
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return "<nil>"
		}
		v = v.Elem()
	}
	if depth > 4 {
		return "…"
	}
	if secret == "" && secretName(name) && composite(v) {
		secret = name
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i).Name
			if !add(field+":", r.tree(field, secret, v.Field(i), depth+1)) {
				break
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			key := plainText(it.Key())
			if !add(Name(key)+":", r.tree(key, secret, it.Value(), depth+1)) {
				break
			}
		}
		return "map[" + strings.Join(parts, " ") + "]"
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("[hidden:binary:%d]", v.Len())
		}
		for i := range v.Len() {
			if !add("", r.tree(name, secret, v.Index(i), depth+1)) {
				break
			}
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	return r.value(within(secret, name), plainText(v))
}

// plainText formats a scalar, also of a field that is not exported, without calling its methods.
func plainText(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return fmt.Sprint(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprint(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return fmt.Sprint(v.Uint())
	case reflect.Float32, reflect.Float64:
		return fmt.Sprint(v.Float())
	}
	return v.Kind().String()
}
