package config

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// decoder turns nodes into the typed configuration. It notes faults and goes on, so that all are found at once.
type decoder struct {
	*report
	getenv func(name string) (string, bool) // as os.LookupEnv
}

// decode reads n into v. Types with a form of their own come first, the rest goes by kind.
func (d *decoder) decode(n *node, v reflect.Value, f field) {
	if n.isNull() {
		d.null(n, v)
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *secret.Text:
		*p, _ = d.secret(n, f)
	case *time.Duration:
		parse(d, n, p, parseDuration, "Write a number with a unit: 30s, 10m, 1h, 90d.")
	case *ByteSize:
		d.byteSize(n, p)
	case *Origin:
		parse(d, n, p, parseOrigin, "Write scheme, host and, if need be, port only: https://tools.example.com")
	case *netip.Prefix:
		parse(d, n, p, parsePrefix, "Write an address range such as 10.0.0.0/8, or one address.")
	case *slog.Level:
		parse(d, n, p, parseLevel, "Choose debug, info, warn or error.")
	case *identity.Claims:
		d.claims(n, p)
	case *identity.Rule:
		d.rule(n, p)
	case *ruleValues:
		d.ruleValues(n, p)
	case *Access:
		d.access(n, p)
	default:
		d.byKind(n, v, f)
	}
}

func (d *decoder) byKind(n *node, v reflect.Value, f field) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), f)
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Slice:
		d.slice(n, v, f)
	case reflect.Map:
		d.stringMap(n, v, f)
	case reflect.Bool:
		if b, ok := n.value.(bool); ok && n.kind == scalar {
			v.SetBool(b)
			return
		}
		d.fault(n, "is "+n.what()+", not true or false", "Write true or false, without quotes.")
	case reflect.Int:
		if i, ok := wholeNumber(n); ok {
			v.SetInt(i)
			return
		}
		d.fault(n, "is not a whole number", "Write digits only.")
	default: // string and its kin
		if s, ok := d.text(n, f.enum); ok {
			if f.path {
				s = d.resolve(s)
			}
			v.SetString(s)
		}
	}
}

// null is a key with nothing behind it: the same as no key for whatever has parts, a fault for the rest.
func (d *decoder) null(n *node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map, reflect.Pointer:
		if _, isSecret := v.Interface().(secret.Text); !isSecret {
			if _, isAccess := v.Interface().(Access); !isAccess {
				return
			}
		}
	}
	if !d.broken(n.path) {
		d.fault(n, "has no value", "Give it a value, or remove the key.")
	}
}

func (d *decoder) structure(n *node, v reflect.Value) {
	if n.kind != mapping {
		d.fault(n, "is "+n.what()+", not a mapping", "Write keys with values below it.")
		return
	}
	setDefaults(v.Addr().Interface())
	fields, _ := fieldsOf(v.Type())
	guessed := map[string]bool{}
	for _, e := range n.entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == e.key })
		if i < 0 {
			guessed[d.unknownKey(e, v.Type(), fields)] = true
			continue
		}
		d.decode(e.value, v.FieldByIndex(fields[i].index), fields[i])
	}
	for _, f := range fields {
		if f.required && n.get(f.name) == nil && !guessed[f.name] {
			d.fault(n.missing(join(n.path, f.name)), "is missing", f.doc)
		}
	}
	if a, ok := v.Addr().Interface().(*Authorizer); ok {
		d.agentCore(n, a)
	}
}

// unknownKey reports a key that nobody knows, and returns the key that was probably meant.
func (d *decoder) unknownKey(e entry, t reflect.Type, fields []field) string {
	hideTree(e.value)
	if message, hint := refusedKey(t, e.key); message != "" {
		d.fault(e.at, message, hint)
		return ""
	}
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	if guess := closest(e.key, names); guess != "" {
		d.fault(e.at, "is not a known key", fmt.Sprintf("Did you mean %s?", guess))
		return guess
	}
	slices.Sort(names)
	d.fault(e.at, "is not a known key", "Known here: "+strings.Join(names, ", ")+".")
	return ""
}

func (d *decoder) slice(n *node, v reflect.Value, f field) {
	elem := v.Type().Elem()
	if elem.Kind() == reflect.Struct {
		if _, key := fieldsOf(elem); key != nil {
			d.keyed(n, v, key)
			return
		}
	}
	items := n.items
	switch {
	case n.kind == list:
	case f.single:
		items = []*node{n}
	default:
		d.fault(n, "is "+n.what()+", not a list", "Write a list: [a, b].")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(items)))
	for _, item := range items {
		one := reflect.New(elem).Elem()
		if item.isNull() {
			d.fault(item, "has no value", "Give it a value, or remove it from the list.")
		} else {
			d.decode(item, one, f)
		}
		v.Set(reflect.Append(v, one))
	}
}

// keyed reads a mapping into a slice, in the order of the file, with each key in its item.
func (d *decoder) keyed(n *node, v reflect.Value, key []int) {
	if n.kind != mapping {
		d.fault(n, "is "+n.what()+", not a mapping", "Write each one below its name: name: {…}")
		return
	}
	for _, e := range n.entries {
		one := reflect.New(v.Type().Elem()).Elem()
		setDefaults(one.Addr().Interface())
		one.FieldByIndex(key).SetString(e.key)
		if !e.value.isNull() {
			d.structure(e.value, one)
		}
		v.Set(reflect.Append(v, one))
	}
}

func (d *decoder) stringMap(n *node, v reflect.Value, f field) {
	if n.kind != mapping {
		d.fault(n, "is "+n.what()+", not a mapping", "Write keys with values below it.")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range n.entries {
		one := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, one, f)
		v.SetMapIndex(reflect.ValueOf(e.key), one)
	}
}

// text reads a string. Numbers and booleans are refused, because YAML would change how they are written.
func (d *decoder) text(n *node, enum []string) (string, bool) {
	s, ok := n.value.(string)
	switch {
	case n.kind != scalar || !ok:
		d.fault(n, "is "+n.what()+", not text", "Write text; put it in quotes when it looks like something else.")
		return "", false
	case enum != nil && !slices.Contains(enum, s):
		hint := "Choose " + strings.Join(enum, " or ") + "."
		if guess := closest(s, enum); guess != "" {
			hint = fmt.Sprintf("Did you mean %s?", guess)
		}
		d.fault(n, fmt.Sprintf("%q is not allowed here", s), hint)
		return "", false
	}
	return s, true
}

// parse reads a string that stands for something else.
func parse[T any](d *decoder, n *node, into *T, f func(string) (T, error), hint string) {
	s, ok := n.value.(string)
	if !ok || n.kind != scalar {
		d.fault(n, "is "+n.what()+", not text", hint)
		return
	}
	value, err := f(s)
	if err != nil {
		d.fault(n, err.Error(), hint)
		return
	}
	*into = value
}

func (d *decoder) byteSize(n *node, into *ByteSize) {
	if i, ok := wholeNumber(n); ok {
		*into = ByteSize(i)
		return
	}
	parse(d, n, into, parseByteSize, "Write a number of bytes, or a size such as 4MiB.")
}

func wholeNumber(n *node) (int64, bool) {
	switch i := n.value.(type) {
	case int64:
		return i, i >= 0
	case uint64:
		return int64(i), i <= math.MaxInt64
	}
	return 0, false
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not an address range", s)
	}
	return p.Masked(), nil
}

func parseLevel(s string) (slog.Level, error) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if s == strings.ToLower(l.String()) {
			return l, nil
		}
	}
	return 0, fmt.Errorf("%q is not a level", s)
}

func (d *decoder) claims(n *node, into *identity.Claims) {
	if n.kind != mapping {
		d.fault(n, "is "+n.what()+", not a mapping", "Write claims with their values: {cid: my-client}.")
		return
	}
	*into = n.plain().(map[string]any)
}

// plain returns what JSON decoding would.
func (n *node) plain() any {
	switch n.kind {
	case list:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			out = append(out, item.plain())
		}
		return out
	case mapping:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			out[e.key] = e.value.plain()
		}
		return out
	}
	switch v := n.value.(type) {
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	}
	return n.value
}

// resolve makes a path absolute to where the configuration stands.
func (d *decoder) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}
