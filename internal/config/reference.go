package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// Reference is the list of all keys in Markdown: the part of docs/config.md that is not written by hand.
func Reference() string {
	var b strings.Builder
	writeSection(&b, "", fresh(reflect.TypeFor[Config]()))
	writeSection(&b, "claim rule", reflect.ValueOf(claimRule{}))
	writeSection(&b, "group of claim rules, in place of a claim rule", reflect.ValueOf(ruleGroup{}))
	writeSection(&b, "secret reference", reflect.ValueOf(secretRef{}))
	return b.String()
}

// writeSection writes the keys of a struct, then those of the structs in it.
func writeSection(b *strings.Builder, title string, v reflect.Value) {
	fmt.Fprintf(b, "\n### %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", cmp.Or(title, "the file"))
	fields, _ := fieldsOf(v.Type())
	for _, f := range fields {
		value := v.FieldByIndex(f.index)
		def := ""
		if d := defaultOf(value); d != nil {
			def = "`" + strings.Trim(string(d), `"`) + "`"
		}
		doc := f.doc
		if f.required {
			doc = "**Required.** " + doc
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, typeName(f.typ, f), def, doc)
	}
	for _, f := range fields {
		if inner, suffix, ok := innerStruct(v.FieldByIndex(f.index)); ok {
			writeSection(b, strings.TrimPrefix(title+"."+f.name+suffix, "."), inner)
		}
	}
}

// innerStruct finds the struct with keys of its own that a value is or holds.
func innerStruct(v reflect.Value) (inner reflect.Value, suffix string, ok bool) {
	t := v.Type()
	if ownForm(t) != "" {
		return v, "", false
	}
	switch t.Kind() {
	case reflect.Slice:
		suffix = "[]"
		if t.Elem().Kind() == reflect.Struct {
			if _, key := fieldsOf(t.Elem()); key != nil {
				suffix = ".*"
			}
		}
		v = fresh(t.Elem())
	case reflect.Pointer:
		v = fresh(t.Elem())
	}
	if v.Kind() != reflect.Struct || ownForm(v.Type()) != "" {
		return v, "", false
	}
	return v, suffix, true
}

// ownForm names types that are written in a form of their own.
func ownForm(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[secret.Text]():
		return "text or secret reference"
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[ByteSize]():
		return "size"
	case reflect.TypeFor[Origin]():
		return "origin"
	case reflect.TypeFor[netip.Prefix]():
		return "address range"
	case reflect.TypeFor[slog.Level]():
		return "`debug`, `info`, `warn` or `error`"
	case reflect.TypeFor[identity.Rule]():
		return "claim rule"
	case reflect.TypeFor[ruleValues]():
		return "text, number, `true`, `false`, or list"
	case reflect.TypeFor[identity.Claims]():
		return "mapping of claims"
	case reflect.TypeFor[Access]():
		return "`any_signed_in`, claim rule, or `anonymous_for_tests`"
	case reflect.TypeFor[*AgentCoreConfiguration](), reflect.TypeFor[*AgentCoreJWT]():
		return "AgentCore's own JSON"
	}
	return ""
}

func typeName(t reflect.Type, f field) string {
	if own := ownForm(t); own != "" {
		if f.option.noInline {
			return "secret reference"
		}
		return own
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem(), f)
	case reflect.Struct:
		return "mapping"
	case reflect.Map:
		return "mapping to " + typeName(t.Elem(), f)
	case reflect.Slice:
		item := typeName(t.Elem(), f)
		if t.Elem().Kind() == reflect.Struct {
			if _, key := fieldsOf(t.Elem()); key != nil {
				return "mapping by name"
			}
		}
		if f.single {
			return item + ", or list"
		}
		return "list of " + item
	case reflect.Bool:
		return "`true` or `false`"
	case reflect.Int:
		return "number"
	}
	if f.enum != nil {
		return "`" + strings.Join(f.enum, "`, `") + "`"
	}
	return "text"
}
