package mcp

import (
	"reflect"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"github___,github,search":                              "github___search",
		"gh.,github,search":                                    "gh.search",
		",github,search":                                       "search",
		"github___,github,issues/list":                         "github___issues_list_qfv1cfr06s",
		"github___,other,issues/list":                          "github___issues_list_x",
		"," + "github," + strings.Repeat("n", 64):              strings.Repeat("n", 64),
		"," + "github," + strings.Repeat("n", 65):              strings.Repeat("n", 53) + "_x",
		strings.Repeat("p", 48) + "___,github,search_all_code": strings.Repeat("p", 32) + "search_all_code_x",
	} {
		parts := strings.Split(in, ",")
		got := PublicName(parts[0], parts[1], parts[2])
		if want, hashed := strings.CutSuffix(want, "_x"); hashed {
			if !strings.HasPrefix(got, want+"_") || len(got) != len(want)+1+hashLength || got != HashedName(parts[0], parts[1], parts[2]) {
				t.Errorf("%s: %s, want %s and a digest", in, got, want)
			}
		} else if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		if len(got) > MaxName {
			t.Errorf("%s has %d characters", got, len(got))
		}
	}
	for _, bad := range []string{"", "a_", "_a", "a___b", "a b", "ä", "-a", strings.Repeat("a", 49)} {
		if ValidTargetName(bad) {
			t.Errorf("%q is a valid target name", bad)
		}
	}
}

func TestRenamed(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"name":"a", "x":1.0}`:                               `{"name":"new", "x":1.0,"_meta":{"gatehouse/name":"a"}}`,
		`{ "x":1.0,"name":"a" }`:                              `{ "x":1.0,"name":"new" ,"_meta":{"gatehouse/name":"a"}}`,
		`{"_meta":{"k" : 1.0},"name":"a"}`:                    `{"_meta":{"k" : 1.0,"gatehouse/name":"a"},"name":"new"}`,
		`{"name":"a","_meta":{},"x":{}}`:                      `{"name":"new","_meta":{"gatehouse/name":"a"},"x":{}}`,
		`{"name":"a","_meta":{"gatehouse/name":"lie"}}`:       `{"name":"new","_meta":{"gatehouse/name":"a"}}`,
		`{"name":"a","_meta":7}`:                              `{"name":"new","_meta":7}`,
		`{"name":"\u0061\"","_meta":{"a":{"_meta":{}}}}`:      `{"name":"new","_meta":{"a":{"_meta":{}},"gatehouse/name":"a\""}}`,
		`{"title":"}","name":"a","inputSchema":{"_meta":{}}}`: `{"title":"}","name":"new","inputSchema":{"_meta":{}},"_meta":{"gatehouse/name":"a"}}`,
	} {
		items, _, err := SplitList([]byte(`{"tools":[`+in+`]}`), Tools)
		if err != nil {
			t.Fatal(err)
		}
		got := items[0].Renamed("new")
		if string(got.Raw) != want || got.Name != "new" {
			t.Errorf("%s became %s, want %s", in, got.Raw, want)
		}
		if again := got.WithName("newer"); !strings.Contains(string(again.Raw), `"name":"newer"`) || !Valid(again.Raw) {
			t.Errorf("and then %s", again.Raw)
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

func TestItemInSessions(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"name":"a","x":1.0}`:                                              "",
		`{"name":"a","outputSchema":{"type":"object","x":1.0}}`:             "",
		`{"name":"a","outputSchema":{"type":"array"},"x":1.0}`:              `{"name":"a","x":1.0}`,
		`{"outputSchema":{"type":["object","null"]},"name":"a"}`:            `{"name":"a"}`,
		`{"name":"a","outputSchema":{"anyOf":[]},"outputschema":"another"}`: `{"name":"a","outputschema":"another"}`,
		`{"name":"a","outputSchema":true}`:                                  `{"name":"a"}`,
	} {
		if want == "" {
			want = in
		}
		if got := (Item{Name: "a", Raw: []byte(in)}).InSessions(); string(got.Raw) != want || got.Name != "a" {
			t.Errorf("%s became %s", in, got.Raw)
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	a := ParseCapabilities([]byte(`{"tools":{"listChanged":true},"logging":{},"experimental":{"e":{"x":1.0}},"extensions":{"z/z":{},"io.modelcontextprotocol/dpop":{},"a/a":{"k":1.0}}}`))
	b := ParseCapabilities([]byte(`{"resources":{"subscribe":true,"listChanged":false},"prompts":null,"completions":{},"extensions":{"a/a":{"k":2},"b/b":true},"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}`))
	const want = `{"completions":{},"experimental":{"e":{"x":1.0}},"extensions":{"a/a":{"k":1.0},"b/b":true,"z/z":{}},"logging":{},"resources":{"subscribe":true},`
	if got := string(a.Merge(b).AppendJSON(nil, Rev20251125)); got != want+`"tasks":{"list":{},"requests":{"tools":{"call":{}}}},"tools":{"listChanged":true}}` {
		t.Error(got)
	}
	if got := string(a.Merge(b).AppendJSON(nil, Rev20260728)); got != want+`"tools":{"listChanged":true}}` {
		t.Error(got)
	}
	all := Capabilities{Tools: true, Prompts: true, Resources: true, Completions: true, Logging: true, ToolsListChanged: true, PromptsListChanged: true, ResourcesListChanged: true, Subscribe: true}
	if raw := all.AppendJSON(nil, Latest); !reflect.DeepEqual(ParseCapabilities(raw), all) {
		t.Errorf("%s", raw)
	}
	if got := string((Capabilities{}).AppendJSON(nil, Latest)); got != `{}` {
		t.Error(got)
	}
}

func TestMethodsOfExtensions(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{}`:           "",
		`{"tools":{}}`: "",
		`{"extensions":{"io.modelcontextprotocol/tasks":{}}}`:                    "tasks/get tasks/update tasks/cancel",
		`{"extensions":{"io.modelcontextprotocol/skills":{}}}`:                   "skills/list resources/directory/read",
		`{"extensions":{"io.modelcontextprotocol/ui":{}}}`:                       "",
		`{"extensions":{"io.modelcontextprotocol/oauth-client-credentials":{}}}`: "",
		`{"extensions":{"com.example/x":{}}}`:                                    "x/y tools/annotate",
		`{"experimental":{"x":{}}}`:                                              "x/y tools/annotate",
		`{"tasks":{"list":{}}}`:                                                  "",
	} {
		c := ParseCapabilities([]byte(raw))
		var has []string
		for _, method := range []string{
			"tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result", "skills/list", "resources/directory/read", "x/y", "tools/annotate",
			"tools/call", "initialize", "sampling/createMessage", "roots/list", "server/discover", "notifications/x",
		} {
			if c.HasMethod(method) {
				has = append(has, method)
			}
		}
		if got := strings.Join(has, " "); got != want {
			t.Errorf("%s has %s, want %s", raw, got, want)
		}
	}
}

func TestSkillFiles(t *testing.T) {
	t.Parallel()
	uris, next := SkillFiles([]byte(`{"skills":[{"uri":"s://a/SKILL.md","resources":[{"uri":"s://a/SKILL.md"},{"uri":"s://a/b.md"},{"uri":1},2]},{"uri":"s://c/SKILL.md","resources":"dynamic"},{},1],"nextCursor":"n"}`))
	if got := strings.Join(uris, " "); got != "s://a/SKILL.md s://a/SKILL.md s://a/b.md s://c/SKILL.md" || next != "n" {
		t.Errorf("%s, %s", got, next)
	}
	for _, odd := range []string{`{}`, `{"skills":1}`, `{"skills":{"uri":"x"}}`, `{"skills":null,"nextCursor":2}`} {
		if uris, next := SkillFiles([]byte(odd)); len(uris) > 0 || next != "" {
			t.Errorf("%s: %v %s", odd, uris, next)
		}
	}
}

func TestClientCapabilities(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"sampling":{"tools":{}},"roots":true,"elicitation":{"form":{},"url":{}},"extensions":{"x":{"k":1.0},"io.modelcontextprotocol/enterprise-managed-authorization":{}},"experimental":{},"tasks":{}}`)
	if got := string(RelayedClientCapabilities(raw)); got != `{"elicitation":{"form":{},"url":{}},"extensions":{"x":{"k":1.0}},"sampling":{"tools":{}}}` {
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
