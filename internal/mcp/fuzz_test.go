package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FuzzDecode holds the decoder against encoding/json, which must accept whatever it accepts and read the same, and
// against a strict JSON parser, which must agree exactly on what is well-formed.
func FuzzDecode(f *testing.F) {
	for _, in := range refusals() {
		f.Add([]byte(in))
	}
	f.Add(sample1KB())
	f.Add(sampleRows(500))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"\ud83d\ude00","method":"resources/read","params":{"uri":"x:\/y","_meta":{}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"\ud800\u0041\udc00\ud83d\ude00\ud83d"}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"x","params":{"name":"\u0000"}}`))
	for _, rows := range []string{`[{"a":1,"b":"x"},{"a":2,"b":"y"},{"b":1,"a":2}]`, `[{"a":1},{"a":2,"a":3}]`, `[{"\u0061":1},{"a":2},{"a":2,"\u0061":1}]`} {
		f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"rows":` + rows + `}}`))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		m, err := Decode(in, Limits{})
		if !bytes.Equal(before, in) {
			t.Fatal("the input was changed")
		}
		if strict := strictlyValid(in); Valid(in) != strict {
			t.Fatalf("Valid says %v, the strict parser %v", !strict, strict)
		}
		if lenient, err2 := Decode(in, Limits{LoneSurrogates: true}); err2 == nil {
			compare(t, in, &lenient)
		} else if err == nil {
			t.Fatalf("refused only when lenient: %v", err2)
		}
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("not an *Error: %v", err)
			}
			return
		}
		compare(t, in, &m)
		splice(t, &m)
	})
}

// strictlyValid asks a parser that refuses duplicate names and invalid UTF-8, within our depth.
func strictlyValid(in []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(in))
	values := 0
	for {
		tok, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return values == 1
		}
		if err != nil || d.StackDepth() > DefaultDepth {
			return false
		}
		if d.StackDepth() == 0 && tok.Kind() != 0 {
			values++
		}
	}
}

func compare(t *testing.T, in []byte, m *Message) {
	t.Helper()
	var want struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Name string `json:"name"`
			URI  string `json:"uri"`
			Task string `json:"taskId"`
			Ref  struct {
				Type string `json:"type"`
				Name string `json:"name"`
				URI  string `json:"uri"`
			} `json:"ref"`
		} `json:"params"`
	}
	err := json.Unmarshal(in, &want)
	if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
		t.Fatalf("encoding/json refuses what was accepted: %v", err)
	}
	if want.Method != m.Method && err == nil {
		t.Fatalf("method %q, encoding/json reads %q", m.Method, want.Method)
	}
	if string(want.ID) != string(m.ID) && string(want.ID) != "null" {
		t.Fatalf("id %s, encoding/json reads %s", m.ID, want.ID)
	}
	if err != nil {
		return
	}
	name := map[string]string{"": "", "taskId": want.Params.Task, "uri": want.Params.URI, "name": want.Params.Name}[m.By]
	switch m.Method {
	case NoteTask, NoteTaskStatus:
		name = want.Params.Task
	case MethodToolsCall, MethodPromptsGet:
		name = want.Params.Name
	case MethodResourcesRead, MethodSubscribe, MethodUnsubscribe, NoteResourceUpdated:
		name = want.Params.URI
	case MethodComplete:
		if name = want.Params.Ref.Name; want.Params.Ref.Type == RefResource {
			name = want.Params.Ref.URI
		}
	}
	if name != m.Name {
		t.Fatalf("name %q, encoding/json reads %q", m.Name, name)
	}
}

// splice checks that an edit changes what it names and nothing else.
func splice(t *testing.T, m *Message) {
	t.Helper()
	if m.Kind == KindResponse || m.Params == nil {
		return
	}
	var id []byte // of a notification
	if m.Kind == KindRequest {
		id = []byte("1")
	}
	raw := m.AppendRequest(nil, id, Edit{Name: "the new name", ProgressToken: []byte("99"), RequestID: []byte("98")})
	again, err := Decode(raw, Limits{})
	if err != nil {
		t.Fatalf("spliced: %v: %s", err, raw)
	}
	if m.at.name.end != 0 && again.Name != "the new name" || m.ProgressToken != nil && string(again.ProgressToken) != "99" || m.RequestID != nil && string(again.RequestID) != "98" {
		t.Fatalf("spliced to %s", raw)
	}
	back := again.AppendParams(nil, Edit{Name: m.Name, ProgressToken: m.ProgressToken, RequestID: m.RequestID})
	var a, b any
	if jsonv2.Unmarshal(m.Params, &a) != nil || jsonv2.Unmarshal(back, &b) != nil {
		t.Fatal("params became invalid")
	}
	x, _ := jsonv2.Marshal(a, jsonv2.Deterministic(true))
	y, _ := jsonv2.Marshal(b, jsonv2.Deterministic(true))
	if m.Name != "" && !bytes.Equal(x, y) {
		t.Fatalf("params %s became %s", x, y)
	}
}

// What a string must not hold as it is, is escaped at any place in strings of any length.
func TestAppendStringEscapes(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{"", "\"", "\\", "\n", "\x00", "\x1f", "\x7f", "\xff", "é", "\u2028"} {
		for n := range 30 {
			for at := range n + 1 {
				s := strings.Repeat("~", at) + odd + strings.Repeat(" ", n-at)
				raw := AppendString(nil, s)
				got, ok := DecodeString(raw)
				if !ok || !Valid(raw) || got != strings.ToValidUTF8(s, "\ufffd") || bytes.IndexByte(raw, 0x7f) >= 0 {
					t.Fatalf("%q became %q", s, raw)
				}
			}
		}
	}
}

func FuzzStrings(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\x1f\"\\/\u2028😀")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, s string) {
		raw := AppendString(nil, s)
		got, ok := DecodeString(raw)
		if want := strings.ToValidUTF8(s, ""); !ok || !Valid(raw) || len(want) == len(s) && got != s {
			t.Fatalf("%q became %s and %q", s, raw, got)
		}
		var std string
		if err := json.Unmarshal(raw, &std); err != nil || std != got {
			t.Fatalf("encoding/json reads %q, %v", std, err)
		}
	})
}

func FuzzSplitList(f *testing.F) {
	f.Add([]byte(`{"tools":[{"name":"a","inputSchema":{}},{"x":1,"name":"b"}],"nextCursor":"c"}`))
	f.Add([]byte(`{"tools":[]}`))
	f.Add([]byte(`{"tools":[{"name":1}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		items, next, err := SplitList(in, Tools)
		if err != nil {
			return
		}
		if !strictlyValid(in) {
			t.Fatal("accepted what is not valid")
		}
		renamed := make([]Item, len(items))
		for i, it := range items {
			renamed[i] = it.WithName("t___" + it.Name)
		}
		again, cursor, err := SplitList(AppendList(nil, Tools, renamed, next), Tools)
		if err != nil || len(again) != len(items) || cursor != next {
			t.Fatalf("written again: %v", err)
		}
		for i := range again {
			if again[i].Name != "t___"+items[i].Name || !bytes.Equal(again[i].WithName(items[i].Name).WithName("z").Raw, items[i].WithName("z").Raw) {
				t.Fatalf("item %s became %s", items[i].Raw, again[i].Raw)
			}
		}
	})
}

// FuzzSSE checks that events do not depend on how the bytes arrive, and that memory stays within the bound.
func FuzzSSE(f *testing.F) {
	f.Add([]byte("data: a\n\n"))
	f.Add([]byte("\xef\xbb\xbfid: 1\r\ndata: a\rdata:b\r\n\r\nretry: 20\n\n: hi\n\ndata\n\n"))
	f.Add([]byte("event: x\ndata: {}\n\n\n\nid\n\nid: \x00\n\ndata: cut"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const bound = 64
		read := func(r io.Reader) (out []string, end error) {
			s := NewSSEReader(r, bound)
			for {
				e, err := s.Next()
				if err != nil {
					return out, err
				}
				if len(e.Data) > bound || cap(s.buf) > 16<<10 {
					t.Fatalf("an event of %d bytes, a buffer of %d", len(e.Data), cap(s.buf))
				}
				out = append(out, e.Type+"|"+e.ID+"|"+string(e.Data)+"|"+e.Retry.String())
			}
		}
		whole, err1 := read(bytes.NewReader(in))
		slow, err2 := read(iotest.OneByteReader(bytes.NewReader(in)))
		if errors.Is(err1, ErrEventTooLarge) || errors.Is(err2, ErrEventTooLarge) {
			return
		}
		if strings.Join(whole, "\n") != strings.Join(slow, "\n") {
			t.Fatalf("at once %q, byte by byte %q", whole, slow)
		}
	})
}

// FuzzDecodeBatch holds arrays of messages against the strict parser and against what each message says alone.
func FuzzDecodeBatch(f *testing.F) {
	for _, in := range refusals() {
		f.Add([]byte("[" + in + "]"))
	}
	f.Add([]byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"n","params":{}}]`))
	f.Add([]byte(` [ ] x`))
	f.Fuzz(func(t *testing.T, in []byte) {
		all, err := DecodeBatch(in, Limits{}, 8)
		if err != nil {
			return
		}
		if !IsBatch(in) || len(all) == 0 || len(all) > 8 {
			t.Fatalf("%d messages of %q", len(all), in)
		}
		var parts []json.RawMessage
		if err := json.Unmarshal(in, &parts); err != nil || len(parts) != len(all) {
			t.Fatalf("encoding/json reads %d messages, %v", len(parts), err)
		}
		for i := range all {
			compare(t, parts[i], &all[i])
		}
	})
}
