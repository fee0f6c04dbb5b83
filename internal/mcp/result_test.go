package mcp

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// parts lists what Without can leave out.
var parts = map[Part][]string{
	PartMeta: {"_meta"}, PartCaching: {"ttlMs", "cacheScope"}, PartRequestState: {"requestState"}, PartStructured: {"structuredContent"},
}

func TestResultWithout(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		raw  string
		drop Part
		more string
		want string
	}{
		{`{}`, PartMeta, ``, `{}`},
		{` { } `, PartMeta, `"a":1`, `{"a":1}`},
		{`{"a":1}`, 0, ``, `{"a":1}`},
		{`{"a":1}`, PartMeta, `"b":2`, `{"a":1,"b":2}`},
		{`{"_meta":{}}`, PartMeta, ``, `{}`},
		{`{"_meta":{}}`, PartMeta, `"b":2`, `{"b":2}`},
		{`{"_meta":{}}`, PartCaching, `"b":2`, `{"_meta":{},"b":2}`},
		{`{"_meta":{"x":[1,2]},"a":"}{,"}`, PartMeta, ``, `{"a":"}{,"}`},
		{"{ \"a\" : [1, 2] ,\n\t\"_meta\" : {} , \"ttlMs\":5 , \"b\" : \", \" }", PartMeta | PartCaching, `"c":3`, `{"a" : [1, 2],"b" : ", ","c":3}`},
		{`{"ttlMs":1,"_meta":2,"cacheScope":"x","requestState":"y","structuredContent":[],"z":0}`, PartMeta | PartCaching | PartRequestState | PartStructured, ``, `{"z":0}`},
		{`{"z":0,"structuredContent":[],"requestState":"y","cacheScope":"x","_meta":2,"ttlMs":1}`, PartMeta | PartCaching | PartRequestState | PartStructured, `"m":1`, `{"z":0,"m":1}`},
		{`{"\u005fmeta":{"x":1},"a":1}`, PartMeta, ``, `{"a":1}`},
	} {
		r := ParseResult([]byte(tc.raw))
		if got := bytes.Join(r.AppendWithout(nil, tc.drop, []byte(tc.more)), nil); !r.Valid || string(got) != tc.want {
			t.Errorf("%s: %t, %s, want %s", tc.raw, r.Valid, got, tc.want)
		}
	}
}

// What a message's result holds is found in it as when it stands alone.
func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`{}`, `{"resultType":"input_required","inputRequests":{"a":{}},"requestState":"s"}`, `{"content":[{"type":"text","text":"resultType"}],"structuredContent":[1]}`,
		`{"ttlMs":5,"cacheScope":"private","_meta":{"a":{"_meta":1}}}`, `5`, `"x"`, `[]`, `null`, `{"resultType":5}`, `{"resultType":null}`, `{"resultType":""}`, `{"a":{"resultType":"deep"}}`,
	} {
		alone := ParseResult([]byte(raw))
		m, err := Decode([]byte(` {"result" : `+raw+` ,"id":1,"jsonrpc":"2.0"}`), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var inside Result
		m.Outcome(&inside)
		if !reflect.DeepEqual(*alone, inside) {
			t.Errorf("%s: alone %+v, inside %+v", raw, alone, inside)
		}
		if object := raw[0] == '{' && !strings.HasPrefix(raw, `{"resultType":`) || strings.HasPrefix(raw, `{"resultType":"i`); alone.Valid != object {
			t.Errorf("%s is valid: %t", raw, alone.Valid)
		}
	}
	var none, task Result
	if (&Message{}).Outcome(&none); none.Valid {
		t.Error("no result is valid")
	}
	made := Message{Kind: KindResponse, Result: []byte(`{"resultType":"task"}`)}
	if made.Outcome(&task); !task.Valid || task.Type != ResultTask {
		t.Errorf("of a message that was put together: %+v", task)
	}
}

func FuzzResultWithout(f *testing.F) {
	f.Add([]byte(`{"_meta":{"a":1},"content":[],"ttlMs":5 , "b":", "}`), byte(3), true)
	f.Fuzz(func(t *testing.T, raw []byte, drop byte, more bool) {
		r := ParseResult(raw)
		if !r.Valid {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Skip() // lone surrogates and the like
		}
		for part, names := range parts {
			for _, name := range names {
				if Part(drop)&part != 0 {
					delete(want, name)
				}
			}
		}
		var behind []byte
		if _, taken := want["more"]; more && !taken {
			behind, want["more"] = []byte(`"more":1`), 1.0
		}
		got := map[string]any{}
		if err := json.Unmarshal(bytes.Join(r.AppendWithout(nil, Part(drop), behind), nil), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q without %d: %v, want %v, %v", raw, drop, got, want, err)
		}
	})
}
