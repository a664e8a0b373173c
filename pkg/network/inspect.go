package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"unicode"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/quote"
)

// This file is the only place that reads keys as they are written. encoding/json, which
// most plugins use, takes a key in any letter case, and the last one of several. Other
// readers take the exact key, or the first. So a config with `ipam` twice means one thing
// to a check and another to the plugin (security S1). A config that passes here means the
// same to every reader.

// role is the meaning of a value for programs that run plugins.
type role int

const (
	plain        role = iota // data
	topLevel                 // a list, or one plugin's config
	member                   // one plugin's config
	nested                   // the config of a plugin that a plugin runs: ipam, delegate
	list                     // the members of a list
	delegates                // a list of nested configs
	typeOfData               // a plain object's type: executed if a plugin wants it
	typeThatRuns             // the name of a plugin's binary
)

// runs reports whether the object's type is executed.
func (r role) runs() bool { return r == topLevel || r == member || r == nested }

// inspectConf checks the text of a config: its depth, its keys, and all types that could
// be executed. The text is valid JSON.
func inspectConf(text []byte) error {
	return (&inspector{decoder: newDecoder(text), types: true}).value(topLevel)
}

// inspectMember checks the text of one plugin's config in the same way.
func inspectMember(text []byte) error {
	return (&inspector{decoder: newDecoder(text), types: true}).value(member)
}

// inspectAnnotation checks the depth and the keys of a JSON annotation.
func inspectAnnotation(text []byte) error {
	return (&inspector{decoder: newDecoder(text)}).value(plain)
}

func newDecoder(text []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d
}

// inspectError is a fault at a place.
type inspectError struct {
	element int    // of the list that counts, from 1: a list's plugin, an annotation's network
	field   string // below that
	reason  string
	remedy  string
}

func (e *inspectError) Error() string {
	var b strings.Builder
	if e.element > 0 {
		fmt.Fprintf(&b, "plugin %d: ", e.element)
	}
	if e.field != "" {
		fmt.Fprintf(&b, "field %s: ", e.field)
	}
	return b.String() + e.reason + "; " + e.remedy
}

type inspector struct {
	decoder *json.Decoder
	types   bool   // check the types of plugins
	depth   int    // objects and lists around the value
	path    []step // to the value
}

// step is one step down into an object or a list.
type step struct {
	key     string
	index   int // if it is a list
	isIndex bool
	counts  bool // messages count from here
}

// fault makes an error at the present place.
func (in *inspector) fault(remedy, format string, args ...any) error {
	e := &inspectError{reason: fmt.Sprintf(format, args...), remedy: remedy}
	for _, s := range in.path {
		switch {
		case s.counts:
			e.element, e.field = s.index+1, ""
		case s.isIndex:
			e.field += fmt.Sprintf("[%d]", s.index)
		default:
			e.field = strings.TrimPrefix(e.field+"."+short(json.RawMessage(s.key)), ".")
		}
	}
	return e
}

// down inspects the value at a step.
func (in *inspector) down(s step, r role) error {
	in.path = append(in.path, s)
	err := in.value(r)
	in.path = in.path[:len(in.path)-1]
	return err
}

// value reads one value with everything in it. Its recursion ends at MaxDepth.
func (in *inspector) value(r role) error {
	token, err := in.decoder.Token()
	if err != nil {
		return fmt.Errorf("is not valid JSON: %w", err)
	}
	switch token := token.(type) {
	case json.Delim:
		return in.within(token, r)
	case string:
		if r == typeThatRuns {
			if err := in.checkType(token); err != nil {
				return err
			}
		}
		if r == typeThatRuns || r == typeOfData {
			return in.checkMeta(token)
		}
	}
	if r == nested && token != nil {
		return in.fault(`write {"type": "…"}`, "is not an object")
	}
	return nil
}

// within reads an object or a list.
func (in *inspector) within(opening json.Delim, r role) error {
	in.depth++
	defer func() { in.depth-- }()
	switch {
	case in.depth > MaxDepth:
		return in.fault("make it flatter", "%d objects and lists within each other, the limit is %d", in.depth, MaxDepth)
	case opening == '{':
		return in.object(r)
	case r == nested:
		return in.fault(`write {"type": "…"}`, "is a list, not an object")
	}
	return in.array(r)
}

// checkType applies the rules for a binary's name. An empty one is for others to refuse.
func (in *inspector) checkType(plugin string) error {
	const remedy = "name the plugin's binary without its directory"
	switch {
	case len(plugin) > MaxNameBytes:
		return in.fault(remedy, "%d bytes, the limit is %d", len(plugin), MaxNameBytes)
	case strings.ContainsAny(plugin, `/\`) || plugin == "." || plugin == "..":
		return in.fault(remedy, "%q is a path", quote.Cut(plugin))
	case strings.HasPrefix(plugin, ".") || strings.ContainsFunc(plugin, notPrintable):
		return in.fault(remedy, "%q is not the name of a plugin", quote.Cut(plugin))
	}
	return nil
}

// notPrintable reports a character that is not visible ASCII, white space included. Names
// are shown on administrators' terminals (security S11).
func notPrintable(r rune) bool { return r <= ' ' || r > '~' }

// checkMeta refuses meta-plugins in any object: a plugin that is not known here may run
// the types of any part of its config.
func (in *inspector) checkMeta(plugin string) error {
	if !wire.IsMeta(path.Base(plugin)) {
		return nil
	}
	remedy := "name the plugin that makes the interface"
	if in.depth > 1 && !in.inMember() {
		remedy = "use host-local, static, or another plugin of that kind"
	}
	return in.fault(remedy, "%q would call Fairlead from within Fairlead without end", quote.Cut(plugin))
}

// inMember reports a key of a list's member itself.
func (in *inspector) inMember() bool {
	return len(in.path) > 1 && in.path[len(in.path)-2].counts
}

func (in *inspector) array(r role) error {
	of := plain
	switch r {
	case list:
		of = member
	case delegates:
		of = nested
	}
	counts := r == list || !in.types && in.depth == 1
	for i := 0; in.decoder.More(); i++ {
		if err := in.down(step{index: i, isIndex: true, counts: counts}, of); err != nil {
			return err
		}
	}
	_, err := in.decoder.Token() // the closing one
	return err
}

func (in *inspector) object(r role) error {
	seen := map[string]string{}
	for in.decoder.More() {
		token, err := in.decoder.Token()
		if err != nil {
			return fmt.Errorf("is not valid JSON: %w", err)
		}
		key, _ := token.(string)
		folded := foldKey(key)
		if first, twice := seen[folded]; twice {
			return in.fault("keep one of them", "%s", sameKeys(first, key))
		}
		if seen[folded] = key; len(seen) > MaxKeys {
			return in.fault("make it smaller", "more than %d keys, which is the limit of one object", MaxKeys)
		}
		if err := in.key(r, key); err != nil {
			return err
		}
	}
	_, err := in.decoder.Token() // the closing one
	return err
}

// key inspects the value of an object's key.
func (in *inspector) key(r role, key string) error {
	child, reason, remedy := in.childRole(r, key)
	if reason != "" {
		in.path = append(in.path, step{key: key})
		return in.fault(remedy, "%s", reason)
	}
	return in.down(step{key: key}, child)
}

func sameKeys(first, second string) string {
	if first == second {
		return fmt.Sprintf("key %q is there twice", quote.Cut(first))
	}
	return fmt.Sprintf("keys %q and %q differ in letter case only, and plugins do not tell them apart", quote.Cut(first), quote.Cut(second))
}

// childRole returns the role of a key's value in an object of role r, or the reason why
// the key is refused.
func (in *inspector) childRole(r role, key string) (child role, reason, remedy string) {
	is := func(name string) bool { return strings.EqualFold(key, name) }
	switch {
	case !in.types:
		return plain, "", ""
	case is("type") && r.runs():
		return typeThatRuns, "", ""
	case is("type"):
		return typeOfData, "", ""
	case !r.runs():
		return plain, "", ""
	case key == "plugins" && r == topLevel:
		return list, "", ""
	case is("plugins") && r == topLevel:
		return plain, "the key is not spelled exactly", `write "plugins"`
	case is("plugins"):
		return plain, "a plugin's config has no plugins of its own", "list all plugins at the top"
	case is("prevResult") && r == nested:
		return plain, "a config does not give a result", "remove it"
	case is("ipam"), is("delegate"):
		return nested, "", ""
	case is("delegates"):
		return delegates, "", ""
	}
	return plain, "", ""
}

// foldKey gives equal texts for keys that encoding/json takes for equal: it compares by
// Unicode's simple folding, in which "ſ" is an "s".
func foldKey(key string) string {
	if !strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII }) {
		return strings.ToLower(key)
	}
	return strings.Map(func(r rune) rune {
		smallest := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			smallest = min(smallest, f)
		}
		if smallest <= unicode.MaxASCII {
			return unicode.ToLower(smallest)
		}
		return smallest
	}, key)
}
