// Package router decides which target owns a name: one immutable table per endpoint, built from the endpoint's
// targets and a snapshot of their catalogues. It is pure and asks nobody whether the call is allowed; that is policy's
// question.
package router

import (
	"gatehouse/internal/mcp"
)

// Target is one target of an endpoint, with what its catalogue held when the table was built. An empty catalogue is
// fine: prefixed tools and prompts are found without one.
type Target struct {
	Name         string
	Tools        []mcp.Item
	Prompts      []mcp.Item
	Resources    []mcp.Item
	Templates    []mcp.Item
	HasResources bool // the target offers resources, listed or not
}

// Table answers for one endpoint.
type Table struct {
	prefix    bool
	targets   []string
	known     map[string]bool   // the same
	tools     map[string]string // name to target, only without prefix
	prompts   map[string]string
	resources map[string]string // URI to target
	templates []template
	sole      string // the only target that offers resources
}

// NewTable builds the table of an endpoint's targets, in the order in which the endpoint names them. With prefix,
// tools and prompts are called target___name; without, the first target that has a name owns it. Resource URIs are
// never rewritten; the first target that lists a URI owns it.
func NewTable(targets []Target, prefix bool) *Table {
	t := &Table{
		prefix:    prefix,
		known:     map[string]bool{},
		tools:     map[string]string{},
		prompts:   map[string]string{},
		resources: map[string]string{},
	}
	offering := 0
	for _, target := range targets {
		t.targets = append(t.targets, target.Name)
		t.known[target.Name] = true
		if !prefix {
			own(t.tools, target.Name, target.Tools)
			own(t.prompts, target.Name, target.Prompts)
		}
		own(t.resources, target.Name, target.Resources)
		for _, item := range target.Templates {
			t.templates = append(t.templates, newTemplate(item.Name, target.Name))
		}
		if target.HasResources {
			offering++
			t.sole = target.Name
		}
	}
	if offering != 1 {
		t.sole = ""
	}
	return t
}

func own(owners map[string]string, target string, items []mcp.Item) {
	for _, it := range items {
		if _, taken := owners[it.Name]; !taken {
			owners[it.Name] = target
		}
	}
}

// Targets returns the endpoint's targets in their order. The caller does not change the list.
func (t *Table) Targets() []string { return t.targets }

// Has reports whether the endpoint has a target of that name.
func (t *Table) Has(target string) bool { return t.known[target] }

// Public returns the name under which the endpoint shows a tool or prompt of a target, and whether it shows it at
// all: without prefix, a name that an earlier target owns is hidden.
func (t *Table) Public(kind mcp.ListKind, target, name string) (string, bool) {
	owners := t.owners(kind)
	switch {
	case kind == mcp.Templates:
		return name, t.Has(target)
	case t.prefix && kind != mcp.Resources:
		return mcp.PrefixedName(target, name), t.Has(target)
	}
	return name, owners[name] == target
}

func (t *Table) owners(kind mcp.ListKind) map[string]string {
	switch kind {
	case mcp.Tools:
		return t.tools
	case mcp.Prompts:
		return t.prompts
	}
	return t.resources
}

// Resolve returns the target that owns a name and the name by which the target knows it. The method is that of the
// request, or for completion/complete the type of its ref (mcp.RefPrompt, mcp.RefResource).
func (t *Table) Resolve(method, name string) (target, upstream string, ok bool) {
	switch method {
	case mcp.MethodToolsCall:
		return t.named(t.tools, name)
	case mcp.MethodPromptsGet, mcp.RefPrompt:
		return t.named(t.prompts, name)
	case mcp.MethodResourcesRead, mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.RefResource:
		target, ok = t.resource(name)
		return target, name, ok
	}
	return "", "", false
}

func (t *Table) named(owners map[string]string, name string) (target, upstream string, ok bool) {
	if !t.prefix {
		target, ok = owners[name]
		return target, name, ok
	}
	target, upstream, ok = mcp.SplitName(name)
	if !ok || !t.Has(target) {
		return "", "", false
	}
	return target, upstream, true
}

// resource finds the owner of a URI, or of a template for completion: listed as it is, then by a template that it
// fits, then the only target that has resources at all.
func (t *Table) resource(uri string) (string, bool) {
	if uri == "" {
		return "", false
	}
	if target, ok := t.resources[uri]; ok {
		return target, true
	}
	for _, tpl := range t.templates {
		if tpl.source == uri {
			return tpl.target, true
		}
	}
	for _, tpl := range t.templates {
		if tpl.matches(uri) {
			return tpl.target, true
		}
	}
	return t.sole, t.sole != ""
}
