package mcp

import (
	"fmt"
	"strings"
	"testing"
)

// The examples of the specification (value encoding), and what must be refused.
func TestHeaderValues(t *testing.T) {
	t.Parallel()
	for value, header := range map[string]string{
		"us-west1":           "us-west1",
		"":                   "",
		"a b\tc":             "a b\tc",
		"Hello, 世界":          "=?base64?SGVsbG8sIOS4lueVjA==?=",
		" padded ":           "=?base64?IHBhZGRlZCA=?=",
		"line1\nline2":       "=?base64?bGluZTEKbGluZTI=?=",
		"=?base64?literal?=": "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		"=?base64?open":      "=?base64?open",
		"=?BASE64?eA==?=":    "=?BASE64?eA==?=", // the marks are case-sensitive: these are none
	} {
		if got := EncodeHeader(value); got != header {
			t.Errorf("%q is written %q, want %q", value, got, header)
		}
		if got, ok := DecodeHeader(header); !ok || got != value {
			t.Errorf("%q is read %q %v, want %q", header, got, ok, value)
		}
	}
	for _, bad := range []string{
		"=?base64?SGVsbG8?=", "=?base64?SGVsbG8==?=", "=?base64?SGVs!G8=?=", "=?base64?SGVsbG9=?=", // padding, alphabet, bits left over
		"=?base64?/w==?=", // not UTF-8
		"caf\xc3\xa9", "a\x00b", "a\x7fb", "a\nb", strings.Repeat("a", maxHeader+1),
	} {
		if got, ok := DecodeHeader(bad); ok {
			t.Errorf("%.40q is read %q", bad, got)
		}
	}
}

func FuzzHeaderValues(f *testing.F) {
	for _, s := range []string{"", "plain", "=?base64?eA==?=", "=?base64?=", "ä", " x", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		DecodeHeader(s) // whatever comes
		valid := strings.ToValidUTF8(s, "?")
		if len(valid) > maxHeader/2 {
			return
		}
		header := EncodeHeader(valid)
		if strings.Trim(header, " \t") != header || !headerText(header) {
			t.Fatalf("%q is written %q, which HTTP would change", valid, header)
		}
		if got, ok := DecodeHeader(header); !ok || got != valid {
			t.Fatalf("%q came back as %q %v", valid, got, ok)
		}
	})
}

func paramsOf(t *testing.T, schema string) ([]HeaderParam, error) {
	t.Helper()
	tool := `{"name":"n","inputSchema":` + schema + `}`
	if !Valid([]byte(tool)) {
		t.Fatalf("not JSON: %s", tool)
	}
	return HeaderParams([]byte(tool))
}

func TestHeaderParams(t *testing.T) {
	t.Parallel()
	good, err := paramsOf(t, `{"type":"object","properties":{
		"region":{"type":"string","x-mcp-header":"Region"},
		"where":{"type":"object","properties":{"zone":{"type":"integer","x-mcp-header":"Zone"}}},
		"x-mcp-header":{"type":"string"},
		"plain":{"type":"string","default":{"x-mcp-header":"data"},"examples":[{"x-mcp-header":1}]},
		"dry":{"type":"boolean","x-mcp\u002dheader":"Dry-Run"}}}`)
	want := []HeaderParam{{"Mcp-Param-Region", []string{"region"}}, {"Mcp-Param-Zone", []string{"where", "zone"}}, {"Mcp-Param-Dry-Run", []string{"dry"}}}
	if err != nil || fmt.Sprint(good) != fmt.Sprint(want) {
		t.Errorf("%v %v, want %v", good, err, want)
	}
	if none, err := paramsOf(t, `{"type":"object","properties":{"a":{"type":"string"}}}`); none != nil || err != nil {
		t.Errorf("%v %v", none, err)
	}
	note := `{"type":"string","x-mcp-header":"A"}`
	deep := note
	for range maxHeaderParamDepth + 1 {
		deep = `{"type":"object","properties":{"d":` + deep + `}}`
	}
	var many []string
	for i := range maxHeaderParams + 1 {
		many = append(many, fmt.Sprintf(`"p%d":{"type":"string","x-mcp-header":"A%d"}`, i, i))
	}
	for name, schema := range map[string]string{
		"empty":             `{"properties":{"a":{"type":"string","x-mcp-header":""}}}`,
		"no string":         `{"properties":{"a":{"type":"string","x-mcp-header":1}}}`,
		"line break":        `{"properties":{"a":{"type":"string","x-mcp-header":"A\nB: c"}}}`,
		"space":             `{"properties":{"a":{"type":"string","x-mcp-header":"A B"}}}`,
		"number":            `{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`,
		"object":            `{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}`,
		"several types":     `{"properties":{"a":{"type":["string","null"],"x-mcp-header":"A"}}}`,
		"twice":             `{"properties":{"a":` + note + `,"b":{"type":"string","x-mcp-header":"a"}}}`,
		"at the root":       note,
		"items":             `{"properties":{"a":{"type":"array","items":` + note + `}}}`,
		"properties within": `{"properties":{"a":{"items":{"properties":{"b":` + note + `}}}}}`,
		"oneOf":             `{"oneOf":[{"properties":{"a":` + note + `}}]}`,
		"allOf in a list":   `{"properties":{"a":{"allOf":[{},` + note + `]}}}`,
		"then":              `{"if":{},"then":{"properties":{"a":` + note + `}}}`,
		"$defs":             `{"$defs":{"a":` + note + `}}`,
		"not":               `{"not":` + note + `}`,
		"additional":        `{"additionalProperties":` + note + `}`,
		"pattern":           `{"patternProperties":{"^a":` + note + `}}`,
		"too deep":          deep,
		"too many":          `{"properties":{` + strings.Join(many, ",") + `}}`,
		"too large":         `{"description":"` + strings.Repeat("a", maxAnnotatedSchema) + `","properties":{"a":` + note + `}}`,
	} {
		if got, err := paramsOf(t, schema); err == nil {
			t.Errorf("%s: found %v", name, got)
		}
	}
}

func TestHeaderParamAgrees(t *testing.T) {
	t.Parallel()
	p := HeaderParam{Header: "Mcp-Param-A", Path: []string{"o", "a"}}
	long := strings.Repeat("x", maxHeader+1)
	for _, c := range []struct {
		argument string // of a; empty: absent
		header   []string
		agrees   bool
	}{
		{`"us"`, []string{"us"}, true},
		{`"us"`, []string{"US"}, false},
		{`"us"`, []string{"=?base64?dXM=?="}, true},
		{`"us"`, []string{"=?base64?dXM?="}, false},
		{`"us"`, nil, false},
		{`"us"`, []string{"us", "us"}, false},
		{`"us"`, []string{"eu", "us"}, false},
		{`"us"`, []string{""}, false},
		{`""`, []string{""}, true},
		{`"=?base64?dXM=?="`, []string{"=?base64?dXM=?="}, false}, // it says us
		{`"\u0075s"`, []string{"us"}, true},
		{`"` + long + `"`, []string{""}, false},
		{`"` + long + `"`, []string{"x"}, false},
		{`42`, []string{"42"}, true},
		{`42`, []string{"42.0"}, true},
		{`4.2e1`, []string{"42"}, true},
		{`42`, []string{"43"}, false},
		{`42`, []string{"0x2a"}, false},
		{`16`, []string{"0x1p4"}, false},
		{`42`, []string{"+42"}, false},
		{`42`, []string{"4_2"}, false},
		{`42`, []string{"=?base64?NDI=?="}, true},
		{`9007199254740993`, []string{"9007199254740993"}, false}, // parsers read it differently
		{`9007199254740993`, nil, true},                           // so it is not expected
		{`1.5`, []string{"1.5"}, false},
		{`true`, []string{"true"}, true},
		{`true`, []string{"True"}, false},
		{`false`, []string{"true"}, false},
		{`null`, nil, true},
		{`null`, []string{"null"}, false},
		{`{}`, nil, true},
		{`{}`, []string{"{}"}, false},
		{``, nil, true},
		{``, []string{"us"}, false},
		{``, []string{""}, false},
	} {
		arguments := `{"o":{}}`
		if c.argument != "" {
			arguments = `{"o":{"a":` + c.argument + `}}`
		}
		if got := p.Agrees(c.header, []byte(arguments)); got != c.agrees {
			t.Errorf("%.40q against %.60s: %v, want %v", c.header, arguments, got, c.agrees)
		}
		if text, ok := p.Text([]byte(arguments)); ok && len(text) < maxHeader && !p.Agrees([]string{text}, []byte(arguments)) {
			t.Errorf("%.60s: what we write (%.40q) does not agree", arguments, text)
		}
	}
	if !p.Agrees(nil, nil) || !p.Agrees(nil, []byte(`{"o":1}`)) || p.Agrees([]string{"a"}, []byte(`{"o":"a"}`)) {
		t.Error("arguments without the path")
	}
}
