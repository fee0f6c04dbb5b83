package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is one file: its lines, and what of them may not be shown.
type document struct {
	file  string
	lines []string
	hide  map[int]int // line → first column that may hold a secret
}

type kind uint8

const (
	scalar kind = iota
	list
	mapping
)

// node is one value of a document, free of the YAML library's types.
type node struct {
	doc          *document
	path         string
	line, column int
	kind         kind
	value        any     // of a scalar: nil, bool, string, int64, uint64 or float64
	items        []*node // of a list
	entries      []entry // of a mapping
	height       int     // lines that a scalar covers beyond its first
	whole        bool    // the place is the file, not a line of it
}

type entry struct {
	key   string
	at    *node // the place of the key, with the path of the value
	value *node
}

func (n *node) isNull() bool { return n.kind == scalar && n.value == nil }

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// what names the kind of value for a message.
func (n *node) what() string {
	switch n.kind {
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	switch n.value.(type) {
	case nil:
		return "empty"
	case bool:
		return "true or false"
	case string:
		return "text"
	}
	return "a number"
}

// join appends a key to a path; a key with other characters than names and paths have is quoted.
func join(path, key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/", r)
	}) {
		key = fmt.Sprintf("%q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// builder turns the YAML library's tree into nodes.
type builder struct {
	doc    *document
	report *report
}

// parseDocument reads one YAML (or JSON) file whose root has the given path. It returns nil after a fault that leaves
// nothing to go on with.
func parseDocument(file, path string, data []byte, r *report) *node {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // of editors on Windows
	doc := &document{file: file, lines: strings.Split(string(data), "\n"), hide: map[int]int{}}
	root := &node{doc: doc, path: path}
	if len(data) > maxFile {
		r.fault(root, fmt.Sprintf("is larger than %d bytes", maxFile), "Is this the right file?")
		return nil
	}
	for i, line := range doc.lines {
		if !utf8.ValidString(line) {
			root.line, root.column, doc.hide[i+1] = i+1, 1, 1
			r.fault(root, "not text in UTF-8", "Save the file with the encoding UTF-8.")
			return nil
		}
	}
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		root.line, root.column = 1, 1
		message := "cannot be read"
		if syntax := (*yaml.SyntaxError)(nil); errors.As(err, &syntax) {
			message = syntax.Message
			place(root, syntax.Token)
		}
		doc.hide[root.line] = 1 // where the file cannot be read, a secret cannot be told from the rest
		r.fault(root, "not valid YAML: "+message, "Look for a tab, a missing space after a colon, an open quote or bracket, or a wrong indentation here or just above.")
		return nil
	}
	b := &builder{doc: doc, report: r}
	var bodies []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return &node{doc: doc, path: path, line: 1, column: 1, whole: true, kind: mapping}
	case 1:
		n := b.build(bodies[0], path)
		n.line, n.column, n.whole = 1, 1, true
		return n
	}
	second := b.build(bodies[1], path)
	r.fault(second, "a second YAML document begins here", "Keep the configuration in one document, without a --- line in between.")
	return nil
}

func place(n *node, t *token.Token) {
	if t != nil && t.Position != nil {
		n.line, n.column = t.Position.Line, t.Position.Column
	}
}

func (b *builder) build(from ast.Node, path string) *node {
	n := &node{doc: b.doc, path: path}
	place(n, from.GetToken())
	switch y := from.(type) {
	case *ast.MappingNode:
		if text, at, ok := gluedText(y); ok {
			n.value = text
			place(n, at)
			break
		}
		n.kind = mapping
		b.entries(n, y.Values)
	case *ast.MappingValueNode:
		n.kind = mapping
		b.entries(n, []*ast.MappingValueNode{y})
	case *ast.SequenceNode:
		n.kind = list
		for i, item := range y.Values {
			n.items = append(n.items, b.build(item, fmt.Sprintf("%s[%d]", path, i)))
		}
	case *ast.LiteralNode:
		n.value = y.Value.Value
		n.height = strings.Count(y.Value.GetToken().Origin, "\n") + 1
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		b.report.fault(n, "anchors, aliases, merge keys and tags are not supported", "Write the value out.")
	case ast.ScalarNode:
		n.value = y.GetValue()
		n.height = strings.Count(strings.TrimSpace(y.GetToken().Origin), "\n")
		s, _ := n.value.(string)
		if strings.Contains(s, "://") && strings.Contains(s, "@") {
			hideTree(n) // a URL with a password
		}
		if y.GetToken().Type == token.StringType && wordProcessed(s) {
			b.report.fault(n, "stands in quotes of a word processor, which YAML takes for a part of the text", `Write " or ' in their place.`)
		}
	default:
		b.report.fault(n, "cannot be read", "Write plain keys, values and lists.")
	}
	return n
}

// wordProcessed reports whether a text begins and ends with typographic quotes.
func wordProcessed(s string) bool {
	const quotes = "“”„‟‘’‚‛«»"
	first, _ := utf8.DecodeRuneInString(s)
	last, size := utf8.DecodeLastRuneInString(s)
	return len(s) > size && strings.ContainsRune(quotes, first) && strings.ContainsRune(quotes, last)
}

// gluedText undoes a fault of the YAML library: within braces it takes [mcp:tools] for a list of {mcp: tools}, though a
// colon without a space behind it divides nothing (YAML 1.2 §7.3.3).
func gluedText(m *ast.MappingNode) (string, *token.Token, bool) {
	if len(m.Values) != 1 || m.Start.Type != token.MappingValueType {
		return "", nil, false
	}
	pair := m.Values[0]
	value, ok := pair.Value.(ast.ScalarNode)
	if !ok {
		return "", nil, false
	}
	left, colon, right := pair.Key.GetToken(), m.Start, value.GetToken()
	plain := left.Indicator == token.NotIndicator && right.Indicator == token.NotIndicator && right.Value != ""
	adjacent := left.Position.Line == right.Position.Line &&
		left.Position.Column+utf8.RuneCountInString(left.Value) == colon.Position.Column &&
		colon.Position.Column+1 == right.Position.Column
	return left.Value + ":" + right.Value, left, plain && adjacent
}

func (b *builder) entries(n *node, values []*ast.MappingValueNode) {
	seen := map[string]int{}
	for i, v := range values {
		key := &node{doc: b.doc, path: n.path}
		place(key, v.Key.GetToken())
		if i == 0 {
			n.line, n.column = key.line, key.column
		}
		name, ok := keyText(v.Key)
		if !ok {
			b.report.fault(key, "the key is not plain text", "Write a plain key; anchors, aliases and merge keys are not supported.")
			continue
		}
		key.path = join(n.path, name)
		if first, again := seen[name]; again {
			b.report.fault(key, fmt.Sprintf("is given twice, first on line %d", first), "Keep one of the two.")
			hideTree(b.build(v.Value, key.path))
			continue
		}
		seen[name] = key.line
		value := b.build(v.Value, key.path)
		if value.kind != scalar || value.value == nil {
			value.line, value.column = key.line, key.column
		}
		n.entries = append(n.entries, entry{key: name, at: key, value: value})
	}
}

func keyText(k ast.MapKeyNode) (string, bool) {
	if k.IsMergeKey() {
		return "", false
	}
	switch y := k.(type) {
	case *ast.StringNode:
		return y.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return k.GetToken().Value, true
	}
	return "", false
}

// hideTree keeps every scalar below n out of what is shown to anybody.
func hideTree(n *node) {
	for _, item := range n.items {
		hideTree(item)
	}
	for _, e := range n.entries {
		hideTree(e.value)
	}
	if n.kind != scalar || n.value == nil {
		return
	}
	n.doc.hideFrom(n.line, n.column)
	for i := 1; i <= n.height; i++ {
		n.doc.hideFrom(n.line+i, 1)
	}
}

func (d *document) hideFrom(line, column int) {
	if old, ok := d.hide[line]; !ok || column < old {
		d.hide[line] = column
	}
}

// source is a line as it may be shown.
func (d *document) source(line int) string {
	if line < 1 || line > len(d.lines) {
		return ""
	}
	text := strings.TrimRight(d.lines[line-1], "\r")
	column, hidden := d.hide[line]
	if !hidden {
		return text
	}
	if column <= 1 {
		return ""
	}
	runes := []rune(text)
	return string(runes[:min(column-1, len(runes))]) + "…"
}
