package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// decodeAnyCase is decodeJSON for config.json, whose keys count in any letter case: the
// device plugin reads it with encoding/json, and its operator writes "IsRdma". The keys
// in dropped have no meaning and are left out.
func decodeAnyCase(data []byte, v any, dropped ...string) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '{' {
		return decodeJSON(data, v)
	}
	renamed, err := renameKeys(data, jsonKeys(v), dropped)
	if err != nil {
		return err
	}
	return decodeJSON(renamed, v)
}

// renameKeys gives the keys of an object the spelling of those that are known. A key
// that occurs in two spellings is then one that occurs twice, which decodeJSON refuses.
func renameKeys(object []byte, known, dropped []string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil { // {
		return nil, err
	}
	var members [][]byte
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		equal := func(k string) bool { return strings.EqualFold(k, key) }
		if slices.ContainsFunc(dropped, equal) {
			continue
		}
		if i := slices.IndexFunc(known, equal); i >= 0 {
			key = known[i]
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		members = append(members, slices.Concat(name, []byte(":"), value))
	}
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}")), nil
}

// jsonKeys lists the keys of a struct.
func jsonKeys(v any) []string {
	t := reflect.TypeOf(v).Elem()
	keys := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return keys
}

// checkSyntax reports the line and column at which a text stops being JSON.
func checkSyntax(data []byte) error {
	var anything json.RawMessage
	err := json.Unmarshal(data, &anything)
	var at *json.SyntaxError
	if !errors.As(err, &at) {
		return err
	}
	before := data[:min(max(at.Offset-1, 0), int64(len(data)))]
	return fmt.Errorf("line %d, column %d: %w", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'), err)
}
