package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

const (
	refSecret    = "#/$defs/secret"
	refClaimRule = "#/$defs/claim_rule"
)

// Schema is the JSON Schema (2020-12) of the configuration file, for editors.
func Schema() ([]byte, error) {
	defaults := Config{}
	setDefaults(&defaults)
	root := objectSchema(reflect.ValueOf(defaults))
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "Gatehouse configuration"
	root.Required = append(root.Required, "master_key", "endpoints")
	root.Defs = map[string]*jsonschema.Schema{
		"secret":     objectSchema(reflect.ValueOf(secretRef{})),
		"claim_rule": {AnyOf: []*jsonschema.Schema{objectSchema(reflect.ValueOf(claimRule{})), groupSchema()}},
	}
	root.Defs["secret"].Description = "A secret by reference: exactly one of file and env."
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// objectSchema describes a struct; v holds the defaults of its fields.
func objectSchema(v reflect.Value) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Properties: map[string]*jsonschema.Schema{},
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	fields, _ := fieldsOf(v.Type())
	for _, f := range fields {
		one := valueSchema(v.FieldByIndex(f.index), f)
		one.Description = f.doc
		if d := defaultOf(v.FieldByIndex(f.index)); d != nil {
			one.Default = d
		}
		s.Properties[f.name] = one
		s.PropertyOrder = append(s.PropertyOrder, f.name)
		if f.required {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// groupSchema has exactly one of its keys.
func groupSchema() *jsonschema.Schema {
	s := objectSchema(reflect.ValueOf(ruleGroup{}))
	s.MinProperties, s.MaxProperties = jsonschema.Ptr(1), jsonschema.Ptr(1)
	return s
}

func valueSchema(v reflect.Value, f field) *jsonschema.Schema {
	switch v.Interface().(type) {
	case secret.Text:
		ref := &jsonschema.Schema{Ref: refSecret}
		if f.option.noInline {
			return ref
		}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, ref}}
	case time.Duration:
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d)?([0-9.]+(ns|us|ms|s|m|h))*$`}
	case ByteSize:
		return &jsonschema.Schema{Types: []string{"integer", "string"}, Pattern: `^[0-9]+ *(KiB|MiB|GiB)?$`}
	case Origin:
		return &jsonschema.Schema{Type: "string", Pattern: `^https?://[^/?#@]+$`}
	case netip.Prefix:
		return &jsonschema.Schema{Type: "string"}
	case slog.Level:
		return &jsonschema.Schema{Type: "string", Enum: []any{"debug", "info", "warn", "error"}}
	case identity.Claims:
		return &jsonschema.Schema{Type: "object"}
	case identity.Rule:
		return &jsonschema.Schema{Ref: refClaimRule}
	case ruleValues:
		scalar := &jsonschema.Schema{Types: []string{"string", "number", "boolean"}}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{scalar, {Type: "array", Items: scalar}}}
	case Access:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Enum: []any{"any_signed_in", "anonymous_for_tests"}}, {Ref: refClaimRule}}}
	}
	return kindSchema(v, f)
}

func kindSchema(v reflect.Value, f field) *jsonschema.Schema {
	switch t := v.Type(); t.Kind() {
	case reflect.Pointer:
		return valueSchema(fresh(t.Elem()), f)
	case reflect.Struct:
		return objectSchema(v)
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: valueSchema(fresh(t.Elem()), f)}
	case reflect.Slice:
		item := valueSchema(fresh(t.Elem()), f)
		if t.Elem().Kind() == reflect.Struct {
			if _, key := fieldsOf(t.Elem()); key != nil {
				return &jsonschema.Schema{Type: "object", AdditionalProperties: item}
			}
		}
		array := &jsonschema.Schema{Type: "array", Items: item}
		if f.single {
			return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{item, array}}
		}
		return array
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Int:
		return &jsonschema.Schema{Type: "integer"}
	}
	s := &jsonschema.Schema{Type: "string"}
	for _, e := range f.enum {
		s.Enum = append(s.Enum, e)
	}
	return s
}

// fresh is a value of a type with its defaults.
func fresh(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	setDefaults(p.Interface())
	return p.Elem()
}

// defaultOf encodes a default; nil when there is none.
func defaultOf(v reflect.Value) json.RawMessage {
	if v.IsZero() && v.Kind() != reflect.Bool && v.Type() != reflect.TypeFor[slog.Level]() {
		return nil
	}
	var value any
	switch x := v.Interface().(type) {
	case time.Duration:
		value = formatDuration(x)
	case ByteSize:
		value = x.String()
	case slog.Level:
		value = "info"
	case string, bool, int, []string:
		value = x
	default:
		return nil
	}
	out, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	return out
}
