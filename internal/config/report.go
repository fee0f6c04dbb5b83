package config

import (
	"cmp"
	"slices"
	"strings"
)

// report collects what is wrong, and knows where in the file each path stands.
type report struct {
	index    map[string]*node // path → node, for checks that run on the finished Config
	faults   []placed
	warnings []placed
}

type placed struct {
	at            *node
	message, hint string
}

// fault notes a fault at a node.
func (r *report) fault(at *node, message, hint string) {
	r.faults = append(r.faults, placed{at, message, hint})
}

// warn notes something that is allowed but should be thought over.
func (r *report) warn(at *node, message, hint string) {
	r.warnings = append(r.warnings, placed{at, message, hint})
}

// add makes every node below n known by its path.
func (r *report) add(n *node) {
	r.index[n.path] = n
	for _, item := range n.items {
		r.add(item)
	}
	for _, e := range n.entries {
		r.add(e.value)
	}
}

// at returns the node of a path, or a node with that path at the place of the closest one above it.
func (r *report) at(path string) *node {
	for p := path; ; p = parent(p) {
		if n, ok := r.index[p]; ok {
			if p == path {
				return n
			}
			return &node{doc: n.doc, path: path, line: n.line, column: n.column}
		}
		if p == "" {
			return &node{doc: &document{}, path: path}
		}
	}
}

func parent(path string) string {
	if strings.HasSuffix(path, `"`) { // a quoted key
		path = path[:max(strings.LastIndex(path[:len(path)-1], `"`), 0)]
		return strings.TrimSuffix(path, ".")
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// broken reports whether a fault is known at the path or below: the checks then have nothing sound to look at.
func (r *report) broken(path string) bool {
	return slices.ContainsFunc(r.faults, func(f placed) bool {
		rest, ok := strings.CutPrefix(f.at.path, path)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || path == "")
	})
}

// finish sorts by place and cuts secrets out of the lines that are shown.
func finish(all []placed) Faults {
	out := make(Faults, 0, len(all))
	for _, p := range all {
		out = append(out, Fault{
			File: p.at.doc.file, Path: p.at.path, Line: p.at.line, Column: p.at.column,
			Source: p.at.doc.source(p.at.line), Message: p.message, Hint: p.hint,
		})
	}
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return out
}
