package view

import (
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"fairlead.dev/fairlead/pkg/state"
)

// printable returns a copy of a state that is safe to print. Tenants choose the names of
// networks and interfaces, and the error texts of their plugins: escape codes in them would
// reach the administrator's terminal.
func printable(s state.State) state.State {
	v := reflect.ValueOf(&s).Elem()
	makePrintable(v)
	return s
}

// makePrintable changes v in place, and copies everything that v refers to.
func makePrintable(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(printableText(v.String()))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			makePrintable(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v))
		for i := range v.Len() {
			makePrintable(v.Index(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		fresh := reflect.New(v.Type().Elem())
		fresh.Elem().Set(v.Elem())
		makePrintable(fresh.Elem())
		v.Set(fresh)
	}
}

// printableText escapes unprintable characters as Go does: \x1b, \u202e, \n.
func printableText(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if unprintable(r) {
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
