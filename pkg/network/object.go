package network

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Object is a JSON object whose keys are decoded and whose values are as written. It is
// never changed: With and Without return copies. So one parsed net-attach-def serves all
// pods at the same time, and adding a key decodes nothing again.
type Object map[string]json.RawMessage

// ParseObject decodes the keys of a JSON object. null is an empty object.
func ParseObject(text []byte) (Object, error) {
	var o map[string]json.RawMessage
	err := json.Unmarshal(text, &o)
	return o, err
}

// encodeObject encodes each value of a map.
func encodeObject(values map[string]any) (Object, error) {
	o := make(Object, len(values))
	for key, value := range values {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		o[key] = raw
	}
	return o, nil
}

// JSON encodes the object, its keys in order.
func (o Object) JSON() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range slices.Sorted(maps.Keys(o)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encodeString(key))
		b.WriteByte(':')
		b.Write(o[key])
	}
	b.WriteByte('}')
	return b.Bytes()
}

// encodeString encodes a string. That cannot fail.
func encodeString(text string) json.RawMessage {
	raw, _ := json.Marshal(text)
	return raw
}

// Get returns the value of a key in any letter case, as most plugins read it. It is nil
// if there is no such key.
func (o Object) Get(key string) json.RawMessage {
	for k, value := range o {
		if strings.EqualFold(k, key) {
			return value
		}
	}
	return nil
}

// Only returns the given keys of the object, in any letter case.
func (o Object) Only(keys ...string) Object {
	picked := Object{}
	for k, value := range o {
		if containsFold(keys, k) {
			picked[k] = value
		}
	}
	return picked
}

// Without returns the object without the given keys, in any letter case.
func (o Object) Without(keys ...string) Object {
	rest := maps.Clone(o)
	maps.DeleteFunc(rest, func(k string, _ json.RawMessage) bool { return containsFold(keys, k) })
	return rest
}

// With returns the object with other values for some keys. A key that differs in letter
// case only is replaced: most plugins would take the last of the two, which may be the
// config's (security S1, S5).
func (o Object) With(values Object) Object {
	merged := o.Without(slices.Collect(maps.Keys(values))...)
	if merged == nil {
		merged = Object{}
	}
	maps.Copy(merged, values)
	return merged
}

func containsFold(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) })
}
