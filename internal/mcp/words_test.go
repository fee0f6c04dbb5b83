package mcp

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"github", "a-b.c_d", "X9"} {
		for _, name := range []string{"echo", "_echo", "a___b", "with space"} {
			if tg, n, ok := SplitName(PrefixedName(target, name)); !ok || tg != target || n != name {
				t.Errorf("%s and %s became %s and %s", target, name, tg, n)
			}
		}
	}
	for _, bad := range []string{"echo", "___echo", "t___", ""} {
		if _, _, ok := SplitName(bad); ok {
			t.Errorf("%q was split", bad)
		}
	}
	for _, bad := range []string{"", "a_", "_a", "a___b", "a b", "ä", "-a", strings.Repeat("a", 49)} {
		if ValidTargetName(bad) {
			t.Errorf("%q is a valid target name", bad)
		}
	}
}

func TestListsKeepUnknownBytes(t *testing.T) {
	t.Parallel()
	in := `{"_meta":{},"resources":[ {"x": 1.0,"uri":"a:\/b","name":"n"} , {"name":"m","uri":"c:d"} ],"nextCursor":"p\u0032"}`
	items, next, err := SplitList([]byte(in), Resources)
	if err != nil || len(items) != 2 || next != "p2" || items[0].Name != "a:/b" {
		t.Fatalf("%+v %q %v", items, next, err)
	}
	if got := string(items[0].WithName("new").Raw); got != `{"x": 1.0,"uri":"new","name":"n"}` {
		t.Error(got)
	}
	if got := string(AppendList(nil, Resources, items, "")); got != `{"resources":[{"x": 1.0,"uri":"a:\/b","name":"n"},{"name":"m","uri":"c:d"}]}` {
		t.Error(got)
	}
	for _, bad := range []string{`{}`, `{"resources":{}}`, `{"resources":[1]}`, `{"resources":[{"name":"x"}]}`, `{"resources":[{"uri":"a","uri":"b"}]}`, `{"resources":[]} 1`, `{"resources":[{"uri":"a"}`} {
		if _, _, err := SplitList([]byte(bad), Resources); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	a := ParseCapabilities([]byte(`{"tools":{"listChanged":true},"logging":{},"experimental":{"tools":{}}}`))
	b := ParseCapabilities([]byte(`{"resources":{"subscribe":true,"listChanged":false},"prompts":null,"completions":{}}`))
	if got := string(a.Merge(b).AppendJSON(nil)); got != `{"completions":{},"logging":{},"resources":{"subscribe":true},"tools":{"listChanged":true}}` {
		t.Error(got)
	}
	all := Capabilities{true, true, true, true, true, true, true, true, true}
	if ParseCapabilities(all.AppendJSON(nil)) != all {
		t.Errorf("%s", all.AppendJSON(nil))
	}
	if got := string((Capabilities{}).AppendJSON(nil)); got != `{}` {
		t.Error(got)
	}
}

func TestClientCapabilities(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"sampling":{"tools":{}},"roots":true,"elicitation":{"form":{},"url":{}},"extensions":{"x":{}}}`)
	if got := string(RelayedClientCapabilities(raw)); got != `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}}}` {
		t.Error(got)
	}
	if got := string(RelayedClientCapabilities(nil)); got != `{}` {
		t.Error(got)
	}
	c := ParseClientCapabilities(raw)
	for _, ask := range []struct {
		method, params string
		form, both     bool // whether clients allow it that declare forms only, or everything
	}{
		{MethodElicit, `{"message":"m"}`, true, true},
		{MethodElicit, `{"mode":"form"}`, true, true},
		{MethodElicit, `{"mode":"url"}`, false, true},
		{MethodElicit, `{"mode":"fax"}`, false, false},
		{MethodElicit, `{"mode":null}`, false, false},
		{MethodSampling, `{}`, false, true},
		{MethodSampling, `{"tools":[]}`, false, true},
		{MethodRootsList, ``, false, false},
		{MethodPing, ``, false, false},
	} {
		form := ParseClientCapabilities([]byte(`{"elicitation":{}}`))
		if got := form.Allows(ask.method, []byte(ask.params)); got != ask.form {
			t.Errorf("%s %s: a client with forms: %v", ask.method, ask.params, got)
		}
		if got := c.Allows(ask.method, []byte(ask.params)); got != ask.both {
			t.Errorf("%s %s: a client with everything: %v", ask.method, ask.params, got)
		}
	}
	plain := ParseClientCapabilities([]byte(`{"sampling":{},"elicitation":{"url":{}}}`))
	if plain.Allows(MethodSampling, []byte(`{"toolChoice":{}}`)) || plain.Allows(MethodElicit, nil) {
		t.Errorf("%+v", plain)
	}
	for _, want := range []string{`{}`, `{"elicitation":{}}`, `{"elicitation":{"url":{}},"roots":{}}`, `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}}}`, `{"sampling":{}}`} {
		if got := string(ParseClientCapabilities([]byte(want)).AppendJSON(nil)); got != want {
			t.Errorf("%s became %s", want, got)
		}
	}
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for asked, want := range map[Revision]Revision{Rev20250618: Rev20250618, Rev20251125: Rev20251125, Rev20241105: Rev20241105, Rev20250326: Rev20250326, Rev20260728: Rev20251125, "x": Rev20251125} {
		if got := Negotiate(asked); got != want {
			t.Errorf("%s: %s", asked, got)
		}
	}
}
