package router

import (
	"cmp"
	"slices"
	"strings"

	"gatehouse/internal/mcp"
)

// uris decides which target owns a resource. URIs are shown as they are, wherever they lead back to the target that they
// came from. Where they do not, because another target has the same URI or none is known for it, they are marked with
// their target's name, so that what a client saw always leads to where it came from.
type uris struct {
	marks     bool              // marks are understood
	mapped    bool              // and set, because more than one target offers resources
	offers    map[string]bool   // targets that offer resources, as far as is known
	listed    map[string]string // URI to target
	folders   []folder          // of skills, the longest first
	templates []template        // in the order of the targets
	shown     map[subject]string
	sole      string // the only target that offers resources
	offering  int    // how many do
}

// folder holds a skill: whatever else is in it is its target's too.
type folder struct{ path, target string }

func newURIs(targets []Target, mapped bool) uris {
	u := uris{marks: mapped, offers: map[string]bool{}, listed: map[string]string{}, shown: map[subject]string{}}
	for i := range targets {
		t := &targets[i]
		for _, it := range t.Resources {
			u.list(it.Name, t.Name)
		}
		for _, uri := range t.Skills {
			u.list(uri, t.Name)
			if path, ok := strings.CutSuffix(uri, "/SKILL.md"); ok {
				u.list(path, t.Name)
				u.folders = append(u.folders, folder{path + "/", t.Name})
			}
		}
		for _, it := range t.Templates {
			u.templates = append(u.templates, newTemplate(it.Name, t.Name))
		}
		if t.HasResources {
			u.sole = t.Name
			u.offering++
		}
		u.offers[t.Name] = t.HasResources || !t.Known
	}
	if u.offering != 1 {
		u.sole = ""
	}
	slices.SortStableFunc(u.folders, func(a, b folder) int { return cmp.Compare(len(b.path), len(a.path)) })
	u.mapped = mapped && u.offering > 1
	if u.mapped {
		u.showTemplates(targets)
	}
	return u
}

func (u *uris) list(uri, target string) {
	if _, taken := u.listed[uri]; !taken {
		u.listed[uri] = target
	}
}

// showTemplates decides which templates are marked: those of which some URI could lead elsewhere.
func (u *uris) showTemplates(targets []Target) {
	for i, t := range u.templates {
		if u.meets(i, targets) {
			u.shown[subject{t.target, t.source}] = mcp.MarkURI(t.source, t.target)
		}
	}
}

// meets reports whether a URI that fits template i may belong to another target: one that lists it, or one that comes
// first and has a template that begins alike.
func (u *uris) meets(i int, targets []Target) bool {
	t := u.templates[i]
	for _, earlier := range u.templates[:i] {
		if earlier.target != t.target && (strings.HasPrefix(earlier.literal, t.literal) || strings.HasPrefix(t.literal, earlier.literal)) {
			return true
		}
	}
	for j := range targets {
		if targets[j].Name == t.target {
			continue
		}
		fits := func(uri string) bool { return strings.HasPrefix(uri, t.literal) && t.matches(uri) }
		if slices.ContainsFunc(targets[j].Resources, func(it mcp.Item) bool { return fits(it.Name) }) || slices.ContainsFunc(targets[j].Skills, fits) {
			return true
		}
	}
	return false
}

// plain finds the owner of a URI without a mark, or of a template for completion: listed as it is, then by the skill that
// it is a file of, then by a template that it fits, then the only target that has resources at all.
func (u *uris) plain(uri string) string {
	if target, ok := u.listed[uri]; ok {
		return target
	}
	for _, tpl := range u.templates {
		if tpl.source == uri {
			return tpl.target
		}
	}
	for _, f := range u.folders {
		if strings.HasPrefix(uri, f.path) {
			return f.target
		}
	}
	for _, tpl := range u.templates {
		if tpl.matches(uri) {
			return tpl.target
		}
	}
	return u.sole
}

func (u *uris) ofURI(uri string) (Owner, bool) {
	if uri == "" {
		return Owner{}, false
	}
	if u.marks {
		if own, target, marked := mcp.UnmarkURI(uri); marked && u.offers[target] {
			return Owner{Target: target, Name: own}, true
		}
	}
	target := u.plain(uri)
	return Owner{Target: target, Name: uri}, target != ""
}

// PublicURI returns the URI under which clients see what a target calls uri.
func (u *uris) PublicURI(target, uri string) string {
	if !u.mapped || !u.offers[target] || uri == "" {
		return uri
	}
	if o, ok := u.ofURI(uri); ok && o.Target == target && o.Name == uri {
		return uri
	}
	return mcp.MarkURI(uri, target)
}

// Mapped reports whether any URI can differ from the target's own.
func (u *uris) Mapped() bool { return u.mapped }

// publicListed is the URI of a listed resource; without marks, only its first target shows it.
func (u *uris) publicListed(target, uri string) (string, bool) {
	if !u.mapped {
		return uri, u.listed[uri] == target
	}
	return u.PublicURI(target, uri), true
}

func (u *uris) publicTemplate(target, source string) string {
	if shown, marked := u.shown[subject{target, source}]; marked {
		return shown
	}
	return source
}
