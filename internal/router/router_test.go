package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
)

func items(names ...string) []mcp.Item {
	var out []mcp.Item
	for _, n := range names {
		out = append(out, mcp.Item{Name: n})
	}
	return out
}

// twoTargets have names and URIs in common. Prefixed says whether they are called target___name.
func twoTargets(prefixed bool) []Target {
	all := []Target{
		{Name: "a", Known: true, Tools: items("echo", "only_a"), Prompts: items("hi"), Resources: items("file:///x", "file:///both"), Templates: items("db://{table}/{row}"), HasResources: true},
		{Name: "b", Known: true, Tools: items("echo", "only_b"), Prompts: items("hi", "bye"), Resources: items("file:///both", "file:///y"), Templates: items("repo://{owner}/{+path}", "q://s{?x,y}"), HasResources: true},
	}
	for i := range all {
		if prefixed {
			all[i].Prefix = all[i].Name + "___"
		}
	}
	return all
}

func TestResolve(t *testing.T) {
	t.Parallel()
	with, without := NewTable(twoTargets(true), true), NewTable(twoTargets(false), true)
	chosen := twoTargets(false)
	chosen[1].Prefix = "bee."
	mixed := NewTable(chosen, false)
	down := twoTargets(true)
	down[1] = Target{Name: "b", Prefix: "b___"}
	unknown := NewTable(down, true)
	for _, tc := range []struct {
		table        *Table
		method, name string
		want         string // target, upstream name; empty when nobody owns it
	}{
		{with, mcp.MethodToolsCall, "a___echo", "a echo"},
		{with, mcp.MethodToolsCall, "b___not_listed", ""},
		{with, mcp.MethodToolsCall, "c___echo", ""},
		{with, mcp.MethodToolsCall, "echo", ""},
		{with, mcp.MethodToolsCall, "a___", ""},
		{with, mcp.MethodToolsCall, "", ""},
		{with, mcp.MethodPromptsGet, "b___hi", "b hi"},
		{with, mcp.RefPrompt, "a___hi", "a hi"},
		{unknown, mcp.MethodToolsCall, "a___echo", "a echo"},
		{unknown, mcp.MethodToolsCall, "a___not_listed", ""},
		{unknown, mcp.MethodToolsCall, "b___not_listed", "b not_listed"},
		{unknown, mcp.MethodToolsCall, "b___a___echo", "b a___echo"},
		{unknown, mcp.MethodPromptsGet, "b___", ""},
		{unknown, mcp.MethodToolsCall, "b___with/slash", ""},
		{unknown, mcp.MethodToolsCall, "b___" + strings.Repeat("x", mcp.MaxName), ""},
		{without, mcp.MethodToolsCall, "echo", "a echo"},
		{without, mcp.MethodToolsCall, "only_b", "b only_b"},
		{without, mcp.MethodToolsCall, "a___echo", ""},
		{without, mcp.MethodToolsCall, "bye", ""},
		{without, mcp.MethodPromptsGet, "bye", "b bye"},
		{without, mcp.RefPrompt, "hi", "a hi"},
		{mixed, mcp.MethodToolsCall, "echo", "a echo"},
		{mixed, mcp.MethodToolsCall, "bee.echo", "b echo"},
		{mixed, mcp.MethodToolsCall, "bee.nothing", ""},
		{with, mcp.MethodResourcesRead, "file:///both", "a file:///both"},
		{with, mcp.MethodResourcesRead, "file:///both#gatehouse-target=b", "b file:///both"},
		{with, mcp.MethodResourcesRead, "file:///both#gatehouse-target=a#gatehouse-target=b", "b file:///both#gatehouse-target=a"},
		{with, mcp.MethodResourcesRead, "made:up#gatehouse-target=b", "b made:up"},
		{with, mcp.MethodResourcesRead, "made:up#gatehouse-target=c", ""},
		{mixed, mcp.MethodResourcesRead, "file:///both#gatehouse-target=b", ""},
		{with, mcp.MethodSubscribe, "file:///y", "b file:///y"},
		{with, mcp.MethodUnsubscribe, "file:///y", "b file:///y"},
		{with, mcp.MethodResourcesRead, "db://t/1", "a db://t/1"},
		{with, mcp.MethodResourcesRead, "db://t/1/2", ""},
		{with, mcp.MethodResourcesRead, "repo://me/a/b?c", "b repo://me/a/b?c"},
		{with, mcp.MethodResourcesRead, "q://s?x=1&y=2", "b q://s?x=1&y=2"},
		{with, mcp.MethodResourcesRead, "q://s", "b q://s"},
		{with, mcp.MethodResourcesRead, "q://st", ""},
		{with, mcp.MethodResourcesRead, "", ""},
		{with, mcp.RefResource, "repo://{owner}/{+path}", "b repo://{owner}/{+path}"},
		{with, mcp.MethodToolsList, "a___echo", ""},
	} {
		owner, ok := tc.table.Resolve(tc.method, tc.name)
		if got := strings.TrimSpace(owner.Target + " " + owner.Name); ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s %q: got %q %v, want %q", tc.method, tc.name, got, ok, tc.want)
		}
	}
}

func TestTheOnlyTargetWithResourcesOwnsUnlistedOnes(t *testing.T) {
	t.Parallel()
	targets := twoTargets(true)
	targets[1].HasResources = false
	if owner, ok := NewTable(targets, true).Resolve(mcp.MethodResourcesRead, "made:up"); !ok || owner.Target != "a" {
		t.Errorf("got %+v %v", owner, ok)
	}
	if _, ok := NewTable(nil, true).Resolve(mcp.MethodResourcesRead, "made:up"); ok {
		t.Error("an empty table owns something")
	}
}

func TestPublicNames(t *testing.T) {
	t.Parallel()
	with, without, plain := NewTable(twoTargets(true), true), NewTable(twoTargets(false), true), NewTable(twoTargets(true), false)
	for _, tc := range []struct {
		table        *Table
		kind         mcp.ListKind
		target, name string
		want         string
	}{
		{with, mcp.Tools, "b", "echo", "b___echo"},
		{with, mcp.Tools, "c", "echo", ""},
		{without, mcp.Tools, "a", "echo", "echo"},
		{without, mcp.Tools, "b", "echo", "echo_npvsrsnc9r"},
		{without, mcp.Prompts, "b", "bye", "bye"},
		{with, mcp.Resources, "a", "file:///both", "file:///both"},
		{with, mcp.Resources, "b", "file:///both", "file:///both#gatehouse-target=b"},
		{plain, mcp.Resources, "b", "file:///both", ""},
		{with, mcp.Templates, "b", "q://s{?x,y}", "q://s{?x,y}"},
	} {
		got, ok := tc.table.Public(tc.kind, tc.target, tc.name)
		if ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s %s %s: %q %v", tc.kind, tc.target, tc.name, got, ok)
		}
	}
}

// Where names meet, the first target keeps its own, and the other's is called something that leads back to it, whatever
// else the targets have.
func TestNamesThatMeet(t *testing.T) {
	t.Parallel()
	table := NewTable(twoTargets(false), true)
	want := []Collision{
		{mcp.Tools, "echo", "a", "b", "echo_npvsrsnc9r"},
		{mcp.Prompts, "hi", "a", "b", "hi_8s4a2a1q0c"},
	}
	got := table.Collisions()
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	owner, ok := table.Resolve(mcp.MethodToolsCall, "echo_npvsrsnc9r")
	if !ok || owner != (Owner{"b", "echo", "echo_npvsrsnc9r"}) {
		t.Errorf("%+v %v", owner, ok)
	}
	// Prefixes that run into each other.
	table = NewTable([]Target{{Name: "x", Prefix: "g_", Known: true, Tools: items("h_z")}, {Name: "y", Prefix: "g_h_", Known: true, Tools: items("z")}}, true)
	if public, _ := table.Public(mcp.Tools, "y", "z"); !strings.HasPrefix(public, "g_h_z_") || len(table.Collisions()) != 1 {
		t.Errorf("%s %+v", public, table.Collisions())
	}
	// A name that stands where another's digest would stand.
	table = NewTable([]Target{{Name: "a", Known: true, Tools: items("echo", "echo_npvsrsnc9r")}, {Name: "b", Known: true, Tools: items("echo")}}, true)
	if public, shown := table.Public(mcp.Tools, "b", "echo"); shown || table.Collisions()[0].Public != "" {
		t.Errorf("%q %+v", public, table.Collisions())
	}
}

// Names that models' APIs refuse lead to their tools all the same.
func TestLongAndOddNames(t *testing.T) {
	t.Parallel()
	odd := []string{strings.Repeat("long", 20), "with/slash", "with space", "größe", "with.dot-and_dash", strings.Repeat("x", 61), strings.Repeat("x", 62)}
	table := NewTable([]Target{{Name: "a", Prefix: "a___", Known: true, Tools: items(odd...), Prompts: items(odd...)}}, true)
	for _, own := range odd {
		public, ok := table.Public(mcp.Tools, "a", own)
		if !ok || len(public) > mcp.MaxName || strings.ContainsFunc(public, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", r)
		}) {
			t.Errorf("%q is shown as %q", own, public)
		}
		owner, ok := table.Resolve(mcp.MethodToolsCall, public)
		if !ok || owner.Name != own {
			t.Errorf("%q leads to %+v", public, owner)
		}
		if plain := "a___"+own == public; plain != (owner.Alias == "") || plain != (own == "with.dot-and_dash") {
			t.Errorf("%q is shown as %q, alias %q", own, public, owner.Alias)
		}
		if same, _ := table.Public(mcp.Prompts, "a", own); same != public {
			t.Errorf("as a prompt: %q", same)
		}
	}
}

// What a client sees as a target's resource leads back to that target under that URI.
func TestURIsLeadBack(t *testing.T) {
	t.Parallel()
	targets := twoTargets(true)
	targets[0].Templates = append(targets[0].Templates, items("file:///{name}", "same://{x}")...)
	targets[1].Templates = append(targets[1].Templates, items("file:///{+path}", "same://{x}", "alone://{x}")...)
	targets = append(targets, Target{Name: "c", Prefix: "c___", Known: true})
	table := NewTable(targets, true)
	if !table.Mapped() {
		t.Fatal("nothing is mapped")
	}
	for _, uri := range []string{
		"file:///x", "file:///y", "file:///both", "file:///z", "file:///deep/er", "db://t/1", "repo://a/b", "made:up", "made:up#part", "q://s?x=1",
		"same://1", "alone://1", "file:///both#gatehouse-target=a", "file:///both#gatehouse-target=b", "x#gatehouse-target=nobody", "#gatehouse-target=a",
	} {
		for _, target := range []string{"a", "b"} {
			public := table.PublicURI(target, uri)
			owner, ok := table.Resolve(mcp.MethodResourcesRead, public)
			if !ok || owner.Target != target || owner.Name != uri {
				t.Errorf("%s of %s is shown as %s, which leads to %+v", uri, target, public, owner)
			}
		}
	}
	if got := table.PublicURI("c", "https://example.com/"); got != "https://example.com/" {
		t.Errorf("a link of a target without resources: %s", got)
	}
	for template, want := range map[string]string{
		"a file:///{name}":  "file:///{name}#gatehouse-target=a", // b lists one that fits
		"b file:///{+path}": "file:///{+path}#gatehouse-target=b",
		"a same://{x}":      "same://{x}",
		"b same://{x}":      "same://{x}#gatehouse-target=b",
		"b alone://{x}":     "alone://{x}",
	} {
		target, source, _ := strings.Cut(template, " ")
		public, _ := table.Public(mcp.Templates, target, source)
		if public != want {
			t.Errorf("%s: %s", template, public)
		}
		if owner, ok := table.Resolve(mcp.RefResource, public); !ok || owner.Target != target || owner.Name != source {
			t.Errorf("%s leads to %+v", public, owner)
		}
		expanded := strings.NewReplacer("{name}", "x", "{+path}", "x", "{x}", "x").Replace(public)
		if owner, ok := table.Resolve(mcp.MethodResourcesRead, expanded); !ok || owner.Target != target {
			t.Errorf("%s leads to %+v", expanded, owner)
		}
	}
}

// The files of skills lead back without being listed as resources, and also by relative URIs.
func TestSkillsLeadBack(t *testing.T) {
	t.Parallel()
	targets := twoTargets(true)
	targets[0].Skills = []string{"skill://pdf/SKILL.md", "skill://pdf/forms.md", "skill://team/a/SKILL.md", "git://x/one/SKILL.md"}
	targets[1].Skills = []string{"skill://pdf/SKILL.md", "skill://team/a/deep/SKILL.md", "skill://b/SKILL.md"}
	targets[1].Templates = append(targets[1].Templates, items("skill://{+path}")...)
	table := NewTable(targets, true)
	for uri, shown := range map[string]string{
		"a skill://pdf/SKILL.md":           "skill://pdf/SKILL.md",
		"a skill://pdf":                    "skill://pdf",
		"a skill://pdf/generated.md":       "skill://pdf/generated.md",
		"b skill://pdf/SKILL.md":           "skill://gatehouse-target=b/pdf/SKILL.md",
		"b skill://pdf/generated.md":       "skill://gatehouse-target=b/pdf/generated.md",
		"b skill://b/x/y.md":               "skill://b/x/y.md",
		"a skill://team/a/x.md":            "skill://team/a/x.md",
		"b skill://team/a/deep/x.md":       "skill://team/a/deep/x.md",
		"b skill://unlisted/SKILL.md":      "skill://unlisted/SKILL.md", // by its template
		"a skill://unlisted/SKILL.md":      "skill://gatehouse-target=a/unlisted/SKILL.md",
		"a git://x/one/other.md":           "git://x/one/other.md",
		"a skill://gatehouse-target=b/x":   "skill://gatehouse-target=a/gatehouse-target=b/x",
		"a skill://gatehouse-target=":      "skill://gatehouse-target=a/gatehouse-target=",
		"b skill://{+path}":                "skill://gatehouse-target=b/{+path}",
		"a skill://gatehouse-target=b":     "skill://gatehouse-target=a/gatehouse-target=b",
		"b skill://gatehouse-target=b/pdf": "skill://gatehouse-target=b/gatehouse-target=b/pdf",
	} {
		target, own, _ := strings.Cut(uri, " ")
		public := table.PublicURI(target, own)
		if strings.Contains(own, "{") {
			public, _ = table.Public(mcp.Templates, target, own)
		}
		if public != shown {
			t.Errorf("%s is shown as %s, want %s", uri, public, shown)
		}
		by := mcp.MethodResourcesRead
		if strings.Contains(own, "{") {
			by = mcp.RefResource
		}
		if owner, ok := table.Resolve(by, public); !ok || owner.Target != target || owner.Name != own {
			t.Errorf("%s leads to %+v", public, owner)
		}
	}
}

func FuzzPublicURI(f *testing.F) {
	f.Add("file:///both", "a")
	f.Add("x#gatehouse-target=b", "b")
	f.Add("#&gatehouse-target=b&gatehouse-target=", "b")
	f.Add("skill://gatehouse-target=b/x/SKILL.md", "b")
	f.Add("skill://pdf/SKILL.md#gatehouse-target=a", "b")
	targets := twoTargets(true)
	targets[0].Skills = []string{"skill://pdf/SKILL.md"}
	table := NewTable(targets, true)
	f.Fuzz(func(t *testing.T, uri, target string) {
		public := table.PublicURI(target, uri)
		if target != "a" && target != "b" || uri == "" {
			if public != uri {
				t.Fatalf("%q of %q is shown as %q", uri, target, public)
			}
			return
		}
		if owner, ok := table.Resolve(mcp.MethodResourcesRead, public); !ok || owner.Target != target || owner.Name != uri {
			t.Fatalf("%q of %q is shown as %q, which leads to %+v", uri, target, public, owner)
		}
	})
}

func TestMalformedTemplatesMatchNothing(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"x://{", "x://{}", "x://{a", strings.Repeat("x{a}", 20_000)} {
		if newTemplate(source, "t").matches("x://a") {
			t.Errorf("%.20q matches", source)
		}
	}
}

// Matching costs something for each byte of the URI and each template, so both are bounded.
func TestLongURIsAndTemplatesFitNothing(t *testing.T) {
	t.Parallel()
	table := NewTable([]Target{{Name: "a", Templates: []mcp.Item{{Name: "x://{+p}"}, {Name: "y://" + strings.Repeat("y", maxTemplate) + "{p}"}}}}, true)
	if _, ok := table.Resolve(mcp.MethodResourcesRead, "x://short"); !ok {
		t.Error("a short URI fits nothing")
	}
	for _, uri := range []string{"x://" + strings.Repeat("x", maxURI), "y://" + strings.Repeat("y", maxTemplate) + "1"} {
		if _, ok := table.Resolve(mcp.MethodResourcesRead, uri); ok {
			t.Errorf("%.10s… fits", uri)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("x://{a}/{+b}{?c}", "x://1/2?c=3")
	f.Add("x{/y*}{#z}{;p}{.q}{&r}", "x/1/2#z")
	f.Fuzz(func(_ *testing.T, source, uri string) {
		newTemplate(source, "t").matches(uri)
	})
}

func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{1, 100} {
		var targets []Target
		for i := range n {
			name := fmt.Sprintf("target%d", i)
			targets = append(targets, Target{Name: name, Prefix: name + "___", Known: true, Tools: items("echo")})
		}
		table := NewTable(targets, true)
		name := fmt.Sprintf("target%d___echo", n-1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Resolve(mcp.MethodToolsCall, name)
			}
		})
	}
}
