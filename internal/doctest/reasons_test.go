package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// reasonTypes are the types whose constants are reasons, by package.
var reasonTypes = map[string]string{
	"authn": "Reason", "jose": "Reason", "oauthclient": "Reason", "doctor": "Code", "vendor": "Code", "target": "TroubleKind",
	"clientdoc": "Reason", "dpop": "Reason",
}

// reasonArguments are the functions that take a reason, by package, with its position.
var reasonArguments = map[string]map[string]int{
	"authserver": {"refuse": 1, "refuseClient": 0, "refuseIDJAG": 0},
	"signin":     {"refused": 1},
}

var reasonWord = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// TestEveryReasonIsListed: docs/reasons.md has every reason in the source, and no other.
func TestEveryReasonIsListed(t *testing.T) {
	t.Parallel()
	source := map[string]string{} // reason → where it stands
	note := func(reason, where string) {
		if !reasonWord.MatchString(reason) {
			t.Errorf("%s: %q is not one word in snake_case", where, reason)
		}
		source[reason] = where
	}
	walkSource(t, func(pkg, where string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for _, reason := range constantsOf(pkg, n) {
					note(reason, where)
				}
			case *ast.CallExpr:
				id, ok := n.Fun.(*ast.Ident)
				if !ok {
					break
				}
				if i, ok := reasonArguments[pkg][id.Name]; ok {
					if reason := text(n.Args[i]); reason != "" {
						note(reason, where)
					} else if _, literal := n.Args[i].(*ast.BasicLit); literal {
						t.Errorf("%s: a refusal without a reason", where)
					}
				}
			case *ast.CompositeLit:
				if isType(n.Type, "web", "Error") || pkg == "web" && isType(n.Type, "", "Error") {
					if reason := reasonOfError(n); reason == "given" {
						break
					} else if reason != "" {
						note(reason, where)
					} else if pkg == "authserver" || pkg == "signin" {
						t.Errorf("%s: an error without a reason", where)
					}
				}
				if isType(n.Type, "audit", "Event") && pkg == "gateway" {
					if reason := member(n, "Reason"); reason != "" {
						note(reason, where)
					}
				}
			}
			return true
		})
	})
	if len(source) < 250 {
		t.Fatalf("found only %d reasons", len(source))
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(read(t, "docs/reasons.md"), -1) {
		listed[m[1]] = true
		if source[m[1]] == "" {
			t.Errorf("docs/reasons.md has %s, which is not in the source", m[1])
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(source)) {
		if !listed[reason] {
			t.Errorf("%s: docs/reasons.md lacks %s", source[reason], reason)
		}
	}
}

// walkSource parses every file of the program under internal that is not a test.
func walkSource(t *testing.T, visit func(pkg, where string, f *ast.File)) {
	t.Helper()
	top := filepath.Join(root, "internal")
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		visit(filepath.ToSlash(filepath.Dir(rel)), filepath.ToSlash(rel), f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// constantsOf returns the values of a declaration of reasons: X Reason = "x", or X = Reason(…), whose value stands
// elsewhere.
func constantsOf(pkg string, spec *ast.ValueSpec) []string {
	id, ok := spec.Type.(*ast.Ident)
	named := ok && reasonTypes[pkg] == id.Name
	inPolicy := pkg == "policy" && len(spec.Names) == 1 && strings.HasPrefix(spec.Names[0].Name, "Reason")
	if !named && !inPolicy {
		return nil
	}
	var out []string
	for _, v := range spec.Values {
		if reason := text(v); reason != "" {
			out = append(out, reason)
		}
	}
	return out
}

func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

func isType(e ast.Expr, pkg, name string) bool {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == pkg && e.Sel.Name == name
	case *ast.Ident:
		return pkg == "" && e.Name == name
	}
	return false
}

// reasonOfError is the reason of a web.Error, or its code, when that is a word of our own.
func reasonOfError(lit *ast.CompositeLit) string {
	if reason := member(lit, "Reason"); reason != "" {
		return reason
	}
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && isType(kv.Key, "", "Reason") {
			return "given" // by a variable, which comes from a refusal that is found itself
		}
	}
	return member(lit, "Code")
}

func member(lit *ast.CompositeLit, name string) string {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && isType(kv.Key, "", name) {
			return text(kv.Value)
		}
	}
	return ""
}
