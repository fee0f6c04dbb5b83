package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestDecodeKinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		kind     Kind
		id       string
		method   string
		nameOf   string
		token    string
	}{
		{"request", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, KindRequest, "1", "ping", "", ""},
		{"string id", `{"jsonrpc":"2.0","id":"a\u0062","method":"ping"}`, KindRequest, `"a\u0062"`, "ping", "", ""},
		{"notification", `{"method":"notifications/initialized","jsonrpc":"2.0"}`, KindNotification, "", "notifications/initialized", "", ""},
		{"result", `{"jsonrpc":"2.0","id":7,"result":{}}`, KindResponse, "7", "", "", ""},
		{"error without id", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`, KindResponse, "", "", "", ""},
		{"tool call", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"na\u006de","arguments":{"name":"x"},"_meta":{"progressToken":"p"}}}`, KindRequest, "1", "tools/call", "name", `"p"`},
		{"params first", `{"params":{"_meta":{"progressToken":5},"name":"x"},"id":1,"method":"prompts/get","jsonrpc":"2.0"}`, KindRequest, "1", "prompts/get", "x", "5"},
		{"resource", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","name":"not this"}}`, KindRequest, "1", "resources/read", "file:///a", ""},
		{"completion of a prompt", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}}`, KindRequest, "1", "completion/complete", "p", ""},
		{"completion of a template", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"uri":"x:{y}","type":"ref/resource"}}}`, KindRequest, "1", "completion/complete", "x:{y}", ""},
		{"progress", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`, KindNotification, "", "notifications/progress", "", `"t"`},
		{"a list has no name", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":"x"}}`, KindRequest, "1", "tools/list", "", ""},
		{"largest id", `{"jsonrpc":"2.0","id":9223372036854775807,"method":"ping"}`, KindRequest, "9223372036854775807", "ping", "", ""},
		{"unknown members", `{"jsonrpc":"2.0","id":1,"method":"ping","extra":[1,{"jsonRPC":2}]}`, KindRequest, "1", "ping", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, err := Decode([]byte(tc.in), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if m.Kind != tc.kind || string(m.ID) != tc.id || m.Method != tc.method || m.Name != tc.nameOf || string(m.ProgressToken) != tc.token {
				t.Errorf("got kind %d id %s method %s name %q token %s", m.Kind, m.ID, m.Method, m.Name, m.ProgressToken)
			}
		})
	}
}

// refusals are texts that some parser somewhere takes, and that we must not.
func refusals() map[string]string {
	deep := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	many := make([]string, 0, 41)
	for i := range 40 {
		many = append(many, fmt.Sprintf(`"k%d":0`, i))
	}
	many = append(many, `"k\u0037":1`)
	return map[string]string{
		"empty":                       ``,
		"two messages":                `{"jsonrpc":"2.0","method":"a"}{"jsonrpc":"2.0","method":"b"}`,
		"trailing data":               `{"jsonrpc":"2.0","method":"a"} x`,
		"trailing NUL":                "{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\x00",
		"byte order mark":             "\xef\xbb\xbf" + `{"jsonrpc":"2.0","method":"a"}`,
		"batch":                       `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`,
		"not an object":               `"ping"`,
		"version missing":             `{"id":1,"method":"ping"}`,
		"version number":              `{"jsonrpc":2.0,"id":1,"method":"ping"}`,
		"version spelt with escape":   `{"jsonrpc":"\u0032.0","id":1,"method":"ping"}`,
		"same key twice":              `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`,
		"same key, one escaped":       `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","na\u006de":"b"}}`,
		"same key deep":               `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":[{"y":1,"y":2}]}}}`,
		"same key among many":         `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{` + strings.Join(many, ",") + `}}}`,
		"same key in a result":        `{"jsonrpc":"2.0","id":1,"result":{"isError":true,"isError":false}}`,
		"key in other case":           `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`,
		"only key in other case":      `{"JSONRPC":"2.0","id":1,"method":"ping"}`,
		"name in other case":          `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}`,
		"arguments in other case":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{},"Arguments":{}}}`,
		"Kelvin sign":                 `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressTo` + "\u212a" + `en":1}}}`,
		"Kelvin sign escaped":         `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressTo\u212aen":1}}}`,
		"long s":                      `{"jſonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}`,
		"NUL behind a key":            `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name\u0000":"b"}}`,
		"NUL and more behind a key":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name\u0000x":"b"}}`,
		"NUL before a key":            `{"jsonrpc":"2.0","id":1,"method":"ping","\u0000method":"tools/call"}`,
		"ref name in other case":      `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"a","Name":"b"}}}`,
		"overlong UTF-8":              "{\"jsonrpc\":\"2.0\",\"method\":\"a\xc0\xafb\"}",
		"overlong key":                "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"\xc1\xad\":1}",
		"surrogate in UTF-8":          "{\"jsonrpc\":\"2.0\",\"method\":\"\xed\xa0\x80\"}",
		"lone high surrogate":         `{"jsonrpc":"2.0","method":"\ud800"}`,
		"lone low surrogate":          `{"jsonrpc":"2.0","method":"\udc00x"}`,
		"high surrogate twice":        `{"jsonrpc":"2.0","method":"\ud800\ud800"}`,
		"raw line feed in a string":   "{\"jsonrpc\":\"2.0\",\"method\":\"a\nb\"}",
		"unknown escape":              `{"jsonrpc":"2.0","method":"\x61"}`,
		"single quotes":               `{'jsonrpc':'2.0','method':'a'}`,
		"comment":                     `{"jsonrpc":"2.0",/* */"method":"a"}`,
		"trailing comma":              `{"jsonrpc":"2.0","method":"a",}`,
		"trailing comma in an array":  `{"jsonrpc":"2.0","method":"a","params":{"x":[1,]}}`,
		"leading zero":                `{"jsonrpc":"2.0","id":01,"method":"a"}`,
		"plus sign":                   `{"jsonrpc":"2.0","id":+1,"method":"a"}`,
		"NaN":                         `{"jsonrpc":"2.0","method":"a","params":{"x":NaN}}`,
		"half a number":               `{"jsonrpc":"2.0","method":"a","params":{"x":1.}}`,
		"id with a fraction":          `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`,
		"id with an exponent":         `{"jsonrpc":"2.0","id":1e3,"method":"ping"}`,
		"huge id":                     `{"jsonrpc":"2.0","id":92233720368547758080,"method":"ping"}`,
		"id null":                     `{"jsonrpc":"2.0","id":null,"method":"ping"}`,
		"id object":                   `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		"id true":                     `{"jsonrpc":"2.0","id":true,"method":"ping"}`,
		"method number":               `{"jsonrpc":"2.0","id":1,"method":1}`,
		"method empty":                `{"jsonrpc":"2.0","id":1,"method":""}`,
		"method with a NUL":           `{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000","params":{"name":"a"}}`,
		"name with a NUL":             `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\u0000"}}`,
		"URI with a NUL":              `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x:a\u0000b"}}`,
		"name of an extension's, NUL": `{"jsonrpc":"2.0","id":1,"method":"x/call","params":{"name":"a\u0000"}}`,
		"method null":                 `{"jsonrpc":"2.0","id":1,"method":null}`,
		"method and result":           `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`,
		"result and error":            `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`,
		"nothing":                     `{"jsonrpc":"2.0","id":1}`,
		"result without id":           `{"jsonrpc":"2.0","result":{}}`,
		"params array":                `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["a"]}`,
		"params null":                 `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}`,
		"name number":                 `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}`,
		"nested 65 deep":              `{"jsonrpc":"2.0","method":"a","params":` + deep + `}`,
		"cut off":                     `{"jsonrpc":"2.0","method":"a"`,
		"cut off in a string":         `{"jsonrpc":"2.0","method":"a`,
		"cut off in an escape":        `{"jsonrpc":"2.0","method":"a\`,
		"cut off in a unicode escape": `{"jsonrpc":"2.0","method":"a\u00`,
		"key without value":           `{"jsonrpc":"2.0","method"}`,
		"key not a string":            `{"jsonrpc":"2.0",1:2}`,
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range refusals() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := Decode([]byte(in), Limits{})
			if err == nil {
				t.Fatalf("accepted as %+v", m)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("not an *Error: %v", err)
			}
			want := CodeInvalidRequest
			switch {
			case e.Code == CodeInvalidParams:
				want = CodeInvalidParams
			case !json.Valid([]byte(in)) || strings.Contains(e.Message, "not valid JSON"):
				want = CodeParse
			}
			if e.Code != want {
				t.Errorf("code %d for %s", e.Code, e.Message)
			}
		})
	}
}

func TestDecodeDepthIsTheMessages(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte {
		return []byte(`{"jsonrpc":"2.0","method":"a","params":{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`)
	}
	if _, err := Decode(nested(62), Limits{}); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	if _, err := Decode(nested(63), Limits{}); err == nil {
		t.Error("65 levels were accepted")
	}
	if _, err := Decode(nested(5), Limits{Depth: 6}); err == nil {
		t.Error("a smaller limit was ignored")
	}
}

func TestLoneSurrogatesPassOnlyInValuesAndWhenAsked(t *testing.T) {
	t.Parallel()
	lenient := Limits{LoneSurrogates: true}
	value := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\ud83dA\udc00\ud800\ud83d\ude00"}}`)
	if _, err := Decode(value, Limits{}); err == nil {
		t.Error("accepted without being asked")
	}
	if m, err := Decode(value, lenient); err != nil || m.Name != "a\ufffdA\ufffd\ufffd😀" {
		t.Errorf("%q %v", m.Name, err)
	}
	if _, err := Decode([]byte(`{"jsonrpc":"2.0","id":1,"result":{"\ud83d":1}}`), lenient); err == nil {
		t.Error("accepted in a key")
	}
}

func TestAppendMeta(t *testing.T) {
	t.Parallel()
	own := `"` + MetaVersion + `":"2026-07-28","` + MetaCapabilities + `":{"roots":{}},"` + MetaClientInfo + `":{"name":"c"},"` + MetaLogLevel + `":"info"`
	for meta, want := range map[string]string{
		`{}`:                              `{}`,
		`{` + own + `}`:                   `{}`,
		`{"x":[1, 2],` + own + `}`:        `{"x":[1, 2]}`,
		`{` + own + `,"progressToken":3}`: `{"progressToken":"p"}`,
		`{"progressToken":3}`:             `{"progressToken":"p"}`,
		`{"progressToken":3, "x" : 1 }`:   `{"progressToken":"p","x" : 1}`,
		`[{"x":1}]`:                       `{}`,
	} {
		m, err := NewRequest(MethodToolsCall, []byte(`{"name":"a","_meta":`+meta+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.AppendMeta(nil, []byte(`"p"`), nil)); got != want {
			t.Errorf("%s: %s, want %s", meta, got, want)
		}
	}
}

func TestAppendParamsTouchesNothingElse(t *testing.T) {
	t.Parallel()
	in := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params": { "_meta" : {"x":1.0, "progressToken" : "a" } , "name":"t___echo" ,"arguments":{"name":"t___echo","n":1E2} }}`
	m, err := Decode([]byte(in), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := string(m.AppendParams(nil, Edit{Name: `e"cho`, ProgressToken: []byte("42")}))
	want := `{ "_meta" : {"x":1.0, "progressToken" : 42 } , "name":"e\"cho" ,"arguments":{"name":"t___echo","n":1E2} }`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if same := string(m.AppendParams(nil, Edit{})); same != string(m.Params) {
		t.Errorf("an empty edit changed %s", same)
	}
	whole := string(m.AppendRequest(nil, []byte("9"), Edit{Name: "echo"}))
	if again, err := Decode([]byte(whole), Limits{}); err != nil || again.Name != "echo" || string(again.ID) != "9" || string(again.ProgressToken) != `"a"` {
		t.Errorf("AppendRequest: %s: %v", whole, err)
	}
}

func TestEditOfRequestID(t *testing.T) {
	t.Parallel()
	m, err := Decode([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId":"a"}}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if string(m.RequestID) != `"a"` {
		t.Errorf("request id %s", m.RequestID)
	}
	if e := m.Edited(Edit{RequestID: []byte("5")}); string(e.Params) != `{"reason":"r","requestId":5}` || string(e.RequestID) != "5" || e.Kind != KindNotification {
		t.Errorf("edited: %s", e.Params)
	}
}

func TestNewRequest(t *testing.T) {
	t.Parallel()
	if m, err := NewRequest("tools/call", []byte(`{"name":"a","_meta":{"progressToken":3}}`)); err != nil || m.Name != "a" || string(m.ProgressToken) != "3" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{`{"name":"a","name":"b"}`, `{"name":"a"} x`, `{"NAME":"a"}`, `[1]`, `null`} {
		if _, err := NewRequest("tools/call", []byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestErrorsRoundTrip(t *testing.T) {
	t.Parallel()
	raw := AppendError(nil, []byte("1"), &Error{Code: CodeInvalidParams, Message: "no \"x\"\n", Data: []byte(`{"a":1}`)})
	m, err := Decode(raw, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseError(m.Error)
	if err != nil || e.Code != CodeInvalidParams || e.Message != "no \"x\"\n" || string(e.Data) != `{"a":1}` {
		t.Errorf("%+v, %v", e, err)
	}
	for _, bad := range []string{`{}`, `"x"`, `{"code":"1"}`, `{"code":1.5}`, `{"code":1,"message":2}`} {
		if _, err := ParseError([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	if raw := string(AppendError(nil, nil, Errorf(CodeParse, "x"))); raw != `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}` {
		t.Error(raw)
	}
}

func TestDecodeAllocates(t *testing.T) {
	in := sample1KB()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Decode(in, Limits{}); err != nil {
			t.Fatal(err)
		}
	}); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecodeBatch(t *testing.T) {
	t.Parallel()
	one := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	got, err := DecodeBatch([]byte(" [ "+one+` , {"jsonrpc":"2.0","method":"n"} ] `), Limits{}, 2)
	if err != nil || len(got) != 2 || string(got[0].Raw) != one || got[1].Kind != KindNotification {
		t.Errorf("%+v, %v", got, err)
	}
	deep := `{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", DefaultDepth-1) + strings.Repeat("]", DefaultDepth-1) + `}`
	if _, err := DecodeBatch([]byte("["+deep+"]"), Limits{}, 1); err != nil {
		t.Errorf("a message of a batch may not nest as deeply as one that comes alone: %v", err)
	}
	for name, in := range map[string]string{
		"empty": `[]`, "too many": "[" + one + "," + one + "," + one + "]", "no array": one, "nested": "[[" + one + "]]", "number": "[1]",
		"one is wrong": "[" + one + `,{"jsonrpc":"1.0","id":1,"method":"ping"}]`, "no end": "[" + one, "more": "[" + one + "]1",
		"duplicate key": `[{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}]`, "comma": "[" + one + ",]", "nothing": "", "too deep": "[" + strings.Replace(deep, "[", "[[", 1) + "]",
	} {
		if got, err := DecodeBatch([]byte(in), Limits{}, 2); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		} else if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%s: not an *Error: %v", name, err)
		}
	}
}

// Two equal keys are found wherever they stand among others, as long as they or not.
func TestEqualKeysAnywhere(t *testing.T) {
	t.Parallel()
	for _, count := range []int{2, 5, 16, 17, 60} {
		keys := make([]string, count)
		for i := range keys {
			keys[i] = `"` + strings.Repeat("k", 1+i%7*32) + strconv.Itoa(i) + `":0`
		}
		in := func(keys []string) []byte { return []byte(`[[{"a":{` + strings.Join(keys, ",") + `},"b":1}]]`) }
		if !Valid(in(keys)) {
			t.Errorf("%d different keys were refused", count)
		}
		for i := range keys {
			for j := range i {
				twice := slices.Clone(keys)
				twice[i] = keys[j]
				escaped := slices.Clone(keys)
				escaped[i] = strings.Replace(keys[j], "k", `\u006b`, 1)
				if Valid(in(twice)) || Valid(in(escaped)) {
					t.Fatalf("of %d keys, %d and %d are equal", count, j, i)
				}
			}
		}
	}
}
