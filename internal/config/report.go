package config

import (
	"cmp"
	"slices"
	"strings"
)

// report collects what is wrong, and knows where in the file each path stands.
type report struct {
	dir      string           // what relative paths are relative to
	index    map[string]*node // path → node, for checks that run on the finished Config
	faults   []placed
	warnings []placed
	checking bool // reading is over
	decoded  int  // how many faults come from it

	files []string // that were read
}

// read reads a bounded file, and remembers that it was read: it is nobody's business but Gatehouse's.
func (r *report) read(path string) ([]byte, error) {
	r.files = append(r.files, path)
	return readFile(path)
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
			return n.missing(path)
		}
		if p == "" {
			return &node{doc: &document{}, path: path}
		}
	}
}

// missing is the place of something that should be in n.
func (n *node) missing(path string) *node {
	return &node{doc: n.doc, path: path, line: n.line, column: n.column, whole: n.whole}
}

func parent(path string) string {
	if strings.HasSuffix(path, `"`) { // a quoted key
		path = path[:max(strings.LastIndex(path[:len(path)-1], `"`), 0)]
		return strings.TrimSuffix(path, ".")
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// broken reports whether reading found a fault at the path, below or above: there is nothing sound to check then.
func (r *report) broken(path string) bool {
	faults := r.faults
	if r.checking {
		faults = faults[:r.decoded]
	}
	return slices.ContainsFunc(faults, func(f placed) bool { return within(f.at.path, path) || within(path, f.at.path) })
}

// within reports whether inner is outer or a part of it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && outer != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// finish sorts by place and cuts secrets out of the lines that are shown.
func finish(all []placed) Faults {
	out := make(Faults, 0, len(all))
	for _, p := range all {
		f := Fault{File: p.at.doc.file, Path: p.at.path, Line: p.at.line, Column: p.at.column, Message: p.message, Hint: p.hint}
		if !p.at.whole {
			f.Source = p.at.doc.source(p.at.line)
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return out
}
