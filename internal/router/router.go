// Package router decides which target owns a name: one immutable table per endpoint, built from the endpoint's
// targets and a snapshot of their catalogues. It is pure and asks nobody whether the call is allowed; that is policy's
// question.
//
// See docs/adr/0009-names-and-uris.md.
package router

import (
	"cmp"
	"slices"
	"strings"

	"gatehouse/internal/mcp"
)

// Target is one target of an endpoint, with what its catalogue held when the table was built.
type Target struct {
	Name         string
	Prefix       string // before the names of its tools and prompts; may be empty
	Known        bool   // the catalogue has been read; else it is empty
	Tools        []mcp.Item
	Prompts      []mcp.Item
	Resources    []mcp.Item
	Templates    []mcp.Item
	Skills       []string // URIs of skills and their files
	HasResources bool     // the target offers resources, listed or not
}

// Owner is the target that a name leads to.
type Owner struct {
	Target string
	Name   string // by which the target knows the thing
	Alias  string // the public name without its prefix, when that is not the target's own name; for policies
}

// Collision is a name that two targets would have had.
type Collision struct {
	Kind   mcp.ListKind
	Name   string
	Keeps  string // the target that has it
	Target string // the other one
	Public string // what the other's is called instead; empty when it is not shown at all
}

// Table answers for one endpoint.
type Table struct {
	targets    []string
	members    map[string]*Target
	unknown    []*Target // with a prefix, without a catalogue; the longest prefix first
	tools      names
	prompts    names
	collisions []Collision
	uris
}

// names are those of tools, or of prompts.
type names struct {
	owners map[string]Owner   // by public name
	public map[subject]string // by owner
}

type subject struct{ target, name string }

// NewTable builds the table of an endpoint's targets. When two of them have the same name, the one that comes first keeps it.
// With mapURIs, a resource URI that would lead to another target is shown with the mark of its own target. Reserved are names
// of tools that no target gets, because Gatehouse has tools of these names itself.
func NewTable(targets []Target, mapURIs bool, reserved ...string) *Table {
	t := &Table{
		members: make(map[string]*Target, len(targets)),
		tools:   names{map[string]Owner{}, map[subject]string{}},
		prompts: names{map[string]Owner{}, map[subject]string{}},
	}
	for i := range targets {
		target := &targets[i]
		t.targets = append(t.targets, target.Name)
		t.members[target.Name] = target
		if !target.Known && target.Prefix != "" {
			t.unknown = append(t.unknown, target)
		}
	}
	slices.SortStableFunc(t.unknown, func(a, b *Target) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
	for _, name := range reserved {
		t.tools.owners[name] = Owner{}
	}
	t.name(targets, mcp.Tools, &t.tools)
	for _, name := range reserved {
		delete(t.tools.owners, name)
	}
	t.name(targets, mcp.Prompts, &t.prompts)
	t.uris = newURIs(targets, mapURIs)
	return t
}

// name gives public names to the tools or prompts of all targets. A name that is taken gets a digest of target and name added,
// so that it does not depend on which other names there are.
func (t *Table) name(targets []Target, kind mcp.ListKind, n *names) {
	for i := range targets {
		target := &targets[i]
		items := target.Tools
		if kind == mcp.Prompts {
			items = target.Prompts
		}
		for _, it := range items {
			public := mcp.PublicName(target.Prefix, target.Name, it.Name)
			if first, taken := n.owners[public]; taken {
				c := Collision{Kind: kind, Name: public, Keeps: first.Target, Target: target.Name}
				public = mcp.HashedName(target.Prefix, target.Name, it.Name)
				if _, taken = n.owners[public]; !taken {
					c.Public = public
				}
				t.collisions = append(t.collisions, c)
				if taken {
					continue
				}
			}
			o := Owner{Target: target.Name, Name: it.Name}
			if public != target.Prefix+it.Name {
				o.Alias = strings.TrimPrefix(public, target.Prefix)
			}
			n.owners[public] = o
			n.public[subject{target.Name, it.Name}] = public
		}
	}
}

// Targets returns the endpoint's targets in their order. The caller does not change the list.
func (t *Table) Targets() []string { return t.targets }

// Has reports whether the endpoint has a target of that name.
func (t *Table) Has(target string) bool { return t.members[target] != nil }

// Collisions lists the names that more than one target would have had, in the order of the targets.
func (t *Table) Collisions() []Collision { return t.collisions }

// Public returns the name under which the endpoint shows an item of a target's catalogue, and whether it shows it at
// all.
func (t *Table) Public(kind mcp.ListKind, target, name string) (string, bool) {
	switch kind {
	case mcp.Tools:
		public, ok := t.tools.public[subject{target, name}]
		return public, ok
	case mcp.Prompts:
		public, ok := t.prompts.public[subject{target, name}]
		return public, ok
	case mcp.Templates:
		return t.publicTemplate(target, name), t.Has(target)
	}
	return t.publicListed(target, name)
}

// Resolve returns the owner of a name. The method is that of the request, or for completion/complete the type of its
// ref (mcp.RefPrompt, mcp.RefResource). A target with a prefix whose catalogue is not known yet owns every name that begins
// with the prefix.
func (t *Table) Resolve(method, name string) (Owner, bool) {
	switch method {
	case mcp.MethodToolsCall:
		return t.named(&t.tools, name)
	case mcp.MethodPromptsGet, mcp.RefPrompt:
		return t.named(&t.prompts, name)
	case mcp.MethodResourcesRead, mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.RefResource:
		return t.ofURI(name)
	}
	return Owner{}, false
}

func (t *Table) named(n *names, name string) (Owner, bool) {
	if o, ok := n.owners[name]; ok {
		return o, true
	}
	for _, target := range t.unknown {
		own, ok := strings.CutPrefix(name, target.Prefix)
		// Once the catalogue is known, the tool may turn out to have a hashed name. The alias is that name, so that rules for
		// it hold now, too.
		if ok && own != "" && mcp.PublicName(target.Prefix, target.Name, own) == name {
			hashed := mcp.HashedName(target.Prefix, target.Name, own)
			return Owner{Target: target.Name, Name: own, Alias: strings.TrimPrefix(hashed, target.Prefix)}, true
		}
	}
	return Owner{}, false
}
