package router

import (
	"fmt"
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

func twoTargets() []Target {
	return []Target{
		{Name: "a", Tools: items("echo", "only_a"), Prompts: items("hi"), Resources: items("file:///x", "file:///both"), Templates: items("db://{table}/{row}"), HasResources: true},
		{Name: "b", Tools: items("echo", "only_b"), Prompts: items("hi", "bye"), Resources: items("file:///both", "file:///y"), Templates: items("repo://{owner}/{+path}", "q://s{?x,y}"), HasResources: true},
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	with, without := NewTable(twoTargets(), true), NewTable(twoTargets(), false)
	for _, tc := range []struct {
		table        *Table
		method, name string
		want         string // target, upstream name; empty when nobody owns it
	}{
		{with, mcp.MethodToolsCall, "a___echo", "a echo"},
		{with, mcp.MethodToolsCall, "b___not_listed", "b not_listed"},
		{with, mcp.MethodToolsCall, "b___a___echo", "b a___echo"},
		{with, mcp.MethodToolsCall, "c___echo", ""},
		{with, mcp.MethodToolsCall, "echo", ""},
		{with, mcp.MethodToolsCall, "a___", ""},
		{with, mcp.MethodToolsCall, "", ""},
		{with, mcp.MethodPromptsGet, "b___hi", "b hi"},
		{with, mcp.RefPrompt, "a___hi", "a hi"},
		{without, mcp.MethodToolsCall, "echo", "a echo"},
		{without, mcp.MethodToolsCall, "only_b", "b only_b"},
		{without, mcp.MethodToolsCall, "a___echo", ""},
		{without, mcp.MethodToolsCall, "bye", ""},
		{without, mcp.MethodPromptsGet, "bye", "b bye"},
		{without, mcp.RefPrompt, "hi", "a hi"},
		{with, mcp.MethodResourcesRead, "file:///both", "a file:///both"},
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
		target, upstream, ok := tc.table.Resolve(tc.method, tc.name)
		if got := strings.TrimSpace(target + " " + upstream); ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s %q: got %q %v, want %q", tc.method, tc.name, got, ok, tc.want)
		}
	}
}

func TestTheOnlyTargetWithResourcesOwnsUnlistedOnes(t *testing.T) {
	t.Parallel()
	targets := twoTargets()
	targets[1].HasResources = false
	if target, _, ok := NewTable(targets, true).Resolve(mcp.MethodResourcesRead, "made:up"); !ok || target != "a" {
		t.Errorf("got %q %v", target, ok)
	}
	if _, _, ok := NewTable(nil, true).Resolve(mcp.MethodResourcesRead, "made:up"); ok {
		t.Error("an empty table owns something")
	}
}

func TestPublicNames(t *testing.T) {
	t.Parallel()
	with, without := NewTable(twoTargets(), true), NewTable(twoTargets(), false)
	for _, tc := range []struct {
		table        *Table
		kind         mcp.ListKind
		target, name string
		want         string
	}{
		{with, mcp.Tools, "b", "echo", "b___echo"},
		{with, mcp.Tools, "c", "echo", ""},
		{without, mcp.Tools, "a", "echo", "echo"},
		{without, mcp.Tools, "b", "echo", ""},
		{without, mcp.Prompts, "b", "bye", "bye"},
		{with, mcp.Resources, "a", "file:///both", "file:///both"},
		{with, mcp.Resources, "b", "file:///both", ""},
		{with, mcp.Templates, "b", "q://s{?x,y}", "q://s{?x,y}"},
	} {
		got, ok := tc.table.Public(tc.kind, tc.target, tc.name)
		if ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s %s %s: %q %v", tc.kind, tc.target, tc.name, got, ok)
		}
	}
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
	if _, _, ok := table.Resolve(mcp.MethodResourcesRead, "x://short"); !ok {
		t.Error("a short URI fits nothing")
	}
	for _, uri := range []string{"x://" + strings.Repeat("x", maxURI), "y://" + strings.Repeat("y", maxTemplate) + "1"} {
		if _, _, ok := table.Resolve(mcp.MethodResourcesRead, uri); ok {
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
			targets = append(targets, Target{Name: fmt.Sprintf("target%d", i)})
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
