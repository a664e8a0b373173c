package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"unicode"

	"fairlead.dev/fairlead/cni/wire"
)

// This file is the only place that reads keys as they are written. encoding/json, which
// most plugins use, takes a key in any letter case, and the last one of several. Other
// readers take the exact key, or the first. So a config with `ipam` twice means one thing
// to a check and another to the plugin (security S1). A config that passes here means the
// same to every reader.

// role says what an object means to who runs plugins.
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
	return (&inspector{decoder: newDecoder(text), types: true}).value(place{}, topLevel, 0)
}

// inspectAnnotation checks the depth and the keys of a JSON annotation.
func inspectAnnotation(text []byte) error {
	return (&inspector{decoder: newDecoder(text)}).value(place{}, plain, 0)
}

func newDecoder(text []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d
}

// place is where in a text the inspector is, for messages.
type place struct {
	element int    // of the list that counts: a list's member, an annotation's network; from 1
	field   string // below that
}

func (p place) key(key string) place {
	p.field = strings.TrimPrefix(p.field+"."+short(json.RawMessage(key)), ".")
	return p
}

func (p place) item(i int, counts bool) place {
	if counts {
		return place{element: i + 1}
	}
	p.field = fmt.Sprintf("%s[%d]", p.field, i)
	return p
}

// inspectError is a fault at a place.
type inspectError struct {
	place  place
	reason string
	remedy string
}

func (e *inspectError) Error() string {
	var b strings.Builder
	if e.place.element > 0 {
		fmt.Fprintf(&b, "plugin %d: ", e.place.element)
	}
	if e.place.field != "" {
		fmt.Fprintf(&b, "field %s: ", e.place.field)
	}
	return b.String() + e.reason + "; " + e.remedy
}

func fault(at place, remedy, format string, args ...any) error {
	return &inspectError{at, fmt.Sprintf(format, args...), remedy}
}

type inspector struct {
	decoder *json.Decoder
	types   bool // check the types of plugins
}

// value reads one value with everything in it. Its recursion ends at MaxDepth.
func (in *inspector) value(at place, r role, depth int) error {
	token, err := in.decoder.Token()
	if err != nil {
		return fmt.Errorf("is not valid JSON: %w", err)
	}
	switch token := token.(type) {
	case json.Delim:
		if depth++; depth > MaxDepth {
			return fault(at, "make it flatter", "%d objects and lists within each other, the limit is %d", depth, MaxDepth)
		}
		if token == '{' {
			return in.object(at, r, depth)
		}
		return in.array(at, r, depth)
	case string:
		if r == typeThatRuns {
			if err := checkType(at, token); err != nil {
				return err
			}
		}
		if r == typeThatRuns || r == typeOfData {
			return checkMeta(at, token)
		}
	}
	if r == nested && token != nil {
		return fault(at, `write {"type": "…"}`, "is not an object")
	}
	return nil
}

// checkType applies the rules for a binary's name. An empty one is for others to refuse.
func checkType(at place, plugin string) error {
	const remedy = "name the plugin's binary without its directory"
	switch {
	case len(plugin) > MaxNameBytes:
		return &LimitError{Field: at.field, Value: len(plugin), Limit: MaxNameBytes, Unit: "bytes", Remedy: "name the plugin's binary"}
	case strings.ContainsAny(plugin, `/\`) || plugin == "." || plugin == "..":
		return fault(at, remedy, "%q is a path", plugin)
	case strings.HasPrefix(plugin, ".") || strings.ContainsFunc(plugin, notPrintable):
		return fault(at, remedy, "%q is not the name of a plugin", plugin)
	}
	return nil
}

// notPrintable reports what is not visible ASCII, white space included. Names of that
// kind are shown on administrators' terminals (security S11).
func notPrintable(r rune) bool { return r <= ' ' || r > '~' }

// checkMeta refuses meta-plugins in any object: a plugin that is not known here may run
// the types of any part of its config.
func checkMeta(at place, plugin string) error {
	if !wire.IsMeta(path.Base(plugin)) {
		return nil
	}
	remedy := "name the plugin that makes the interface"
	if !strings.EqualFold(at.field, "type") {
		remedy = "use host-local, static, or another plugin of that kind"
	}
	return fault(at, remedy, "%q would call Fairlead from within Fairlead without end", plugin)
}

func (in *inspector) array(at place, r role, depth int) error {
	if r == nested {
		return fault(at, `write {"type": "…"}`, "is a list, not an object")
	}
	of := map[role]role{list: member, delegates: nested}[r]
	counts := r == list || !in.types && depth == 1
	for i := 0; in.decoder.More(); i++ {
		if err := in.value(at.item(i, counts), of, depth); err != nil {
			return err
		}
	}
	_, err := in.decoder.Token() // the closing one
	return err
}

func (in *inspector) object(at place, r role, depth int) error {
	seen := map[string]string{}
	for in.decoder.More() {
		token, err := in.decoder.Token()
		if err != nil {
			return fmt.Errorf("is not valid JSON: %w", err)
		}
		key, _ := token.(string)
		folded := foldKey(key)
		if first, twice := seen[folded]; twice {
			return fault(at, "keep one of them", "%s", sameKeys(first, key))
		}
		seen[folded] = key
		child, err := in.childRole(at.key(key), r, key)
		if err != nil {
			return err
		}
		if err := in.value(at.key(key), child, depth); err != nil {
			return err
		}
	}
	_, err := in.decoder.Token() // the closing one
	return err
}

func sameKeys(first, second string) string {
	if first == second {
		return fmt.Sprintf("key %q is there twice", first)
	}
	return fmt.Sprintf("keys %q and %q differ in letter case only, and plugins do not tell them apart", first, second)
}

// childRole says what the value of a key means, given what its object does.
func (in *inspector) childRole(at place, r role, key string) (role, error) {
	is := func(name string) bool { return strings.EqualFold(key, name) }
	switch {
	case !in.types:
		return plain, nil
	case is("type") && r.runs():
		return typeThatRuns, nil
	case is("type"):
		return typeOfData, nil
	case !r.runs():
		return plain, nil
	case is("plugins") && r == topLevel && key == "plugins":
		return list, nil
	case is("plugins") && r == topLevel:
		return plain, fault(at, `write "plugins"`, "the key is not spelled exactly")
	case is("plugins"):
		return plain, fault(at, "list all plugins at the top", "a plugin's config has no plugins of its own")
	case is("prevResult") && r == nested:
		return plain, fault(at, "remove it", "a config does not give a result")
	case is("ipam"), is("delegate"):
		return nested, nil
	case is("delegates"):
		return delegates, nil
	}
	return plain, nil
}

// foldKey gives equal texts for keys that encoding/json takes for equal: it compares by
// Unicode's simple folding, in which "ſ" is an "s".
func foldKey(key string) string {
	return strings.Map(func(r rune) rune {
		smallest := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			smallest = min(smallest, f)
		}
		return smallest
	}, key)
}
