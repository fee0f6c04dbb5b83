package router

import (
	"regexp"
	"strings"
)

// Longer templates match nothing, and longer URIs fit none: both come from outside, and every template is tried on
// every URI that is not listed.
const (
	maxTemplate = 2 << 10
	maxURI      = 8 << 10
)

// template is a URI template of a target (RFC 6570, levels 1 to 3), turned round: it recognises the URIs that it
// could have made. Matching is linear in the URI.
type template struct {
	source  string
	target  string
	literal string         // what comes before the first expression
	pattern *regexp.Regexp // nil when the template is malformed: it then matches nothing
}

func newTemplate(source, target string) template {
	t := template{source: source, target: target}
	t.literal, _, _ = strings.Cut(source, "{")
	if len(source) > maxTemplate {
		return t
	}
	var b strings.Builder
	b.WriteString("^")
	rest := source
	for rest != "" {
		literal, after, found := strings.Cut(rest, "{")
		b.WriteString(regexp.QuoteMeta(literal))
		if !found {
			break
		}
		expression, tail, closed := strings.Cut(after, "}")
		if !closed || expression == "" {
			return t
		}
		b.WriteString(expressionPattern(expression[0]))
		rest = tail
	}
	b.WriteString("$")
	// A template that is too large for a pattern is treated as malformed.
	if p, err := regexp.Compile(b.String()); err == nil {
		t.pattern = p
	}
	return t
}

// expressionPattern returns what an expression with this operator can expand to (RFC 6570 §3.2).
func expressionPattern(operator byte) string {
	switch operator {
	case '+':
		return `.+`
	case '#':
		return `(?:#.*)?`
	case '.':
		return `(?:\.[^/?#]*)?`
	case '/':
		return `(?:/[^?#]*)?`
	case ';':
		return `(?:;[^/?#]*)*`
	case '?':
		return `(?:\?[^#]*)?`
	case '&':
		return `(?:&[^#]*)?`
	}
	return `[^/?#]+`
}

func (t template) matches(uri string) bool {
	return t.pattern != nil && len(uri) <= maxURI && t.pattern.MatchString(uri)
}
