package archtest

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// level returns the level of a package in the table of ARCHITECTURE.md: imports point to lower levels only.
func level(pkg string) (int, bool) {
	for n, names := range [][]string{
		0: {"identity", "secret", "seal", "mcp", "vendor", "httpd", "loopback", "callctx"},
		1: {"policy", "router", "jose", "audit", "store", "web", "page", "telemetry", "clientconfig", "clientdoc", "oauthclient", "dpop", "sandbox", "toolsearch", "embedding"},
		2: {"authn", "authserver", "signin", "target", "upauth", "session", "cluster", "config"},
		3: {"gateway", "portal", "doctor"},
		4: {"app"},
		5: {"cmd/gatehouse"},
	} {
		if slices.Contains(names, pkg) {
			return n, true
		}
	}
	return 0, false
}

// sideways are the arrows within a level that have a reason.
func sideways(from, to string) bool {
	return from == "oauthclient" && to == "jose" || // one reader of tokens and one cache of keys, also for those of our own sign-in
		from == "dpop" && to == "jose" || // the same reader, for proofs
		from == "httpd" && to == "callctx" // the contexts of its requests
}

func TestImportArrows(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		from := f.short()
		if from == "testkit" || from == "archtest" {
			continue
		}
		high, known := level(from)
		if !known {
			t.Errorf("%s: package %s has no level; give it one here and in ARCHITECTURE.md", f.path, from)
			continue
		}
		for _, p := range f.imports() {
			to, ours := strings.CutPrefix(p, module+"internal/")
			if !ours {
				continue
			}
			low, known := level(to)
			switch {
			case to == "testkit":
				t.Errorf("%s imports testkit, which is for tests", f.path)
			case !known:
				t.Errorf("%s imports %s, which has no level", f.path, to)
			case low >= high && !sideways(from, to):
				t.Errorf("%s (level %d) imports %s (level %d); let the caller declare an interface and app plug it in", f.path, high, to, low)
			case to == "config" && high < 4:
				t.Errorf("%s imports config; packages below app take their own Options", f.path)
			}
		}
	}
}

func TestPackagesSayWhatTheyOwn(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, f := range source(t) {
		documented[f.pkg()] = documented[f.pkg()] || f.ast.Doc != nil
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment that says what it owns and what not", pkg)
		}
	}
}

func TestThirdPartyTypesStayInside(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		if f.short() == "testkit" || f.ast.Name.Name == "main" {
			continue
		}
		imports := f.imports()
		for _, d := range f.ast.Decls {
			for _, n := range exportedSurface(d) {
				ast.Inspect(n, func(n ast.Node) bool {
					sel, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if x, ok := sel.X.(*ast.Ident); ok && isThirdParty(imports[x.Name]) {
						t.Errorf("%s: %s.%s of %s shows in an exported signature", f.at(sel), x.Name, sel.Sel.Name, imports[x.Name])
					}
					return true
				})
			}
		}
	}
}

func isThirdParty(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(path.Clean(first), ".") && importPath != ""
}

// exportedSurface returns the types that a declaration shows to other packages.
func exportedSurface(d ast.Decl) []ast.Node {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || receiverIsExported(d.Recv)) {
			return []ast.Node{d.Type}
		}
	case *ast.GenDecl:
		var out []ast.Node
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() {
					out = append(out, exportedPartOf(spec.Type)...)
				}
			case *ast.ValueSpec:
				if spec.Type != nil && slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
					out = append(out, spec.Type)
				}
			}
		}
		return out
	}
	return nil
}

func receiverIsExported(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// exportedPartOf leaves out the unexported fields of a struct.
func exportedPartOf(typ ast.Expr) []ast.Node {
	s, ok := typ.(*ast.StructType)
	if !ok {
		return []ast.Node{typ}
	}
	var out []ast.Node
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
			out = append(out, field.Type)
		}
	}
	return out
}
