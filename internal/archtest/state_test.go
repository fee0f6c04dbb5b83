package archtest

import (
	"go/ast"
	"go/token"
	"testing"
)

func TestNoInit(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init hides when things happen; call it from app", f.at(fn))
			}
		}
	}
}

// TestPackageVariablesNeverChange looks for package variables that are written to after the program has started, that
// others could write to, or that only make sense when they change.
func TestPackageVariablesNeverChange(t *testing.T) {
	t.Parallel()
	files := source(t)
	vars := map[string]map[string]bool{} // by package, then name
	for _, f := range files {
		if vars[f.pkg()] == nil {
			vars[f.pkg()] = map[string]bool{}
		}
		for _, d := range f.ast.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				checkVariable(t, f, spec.(*ast.ValueSpec), vars[f.pkg()])
			}
		}
	}
	for _, f := range files {
		checkWrites(t, f, vars[f.pkg()])
	}
}

// checkVariable adds the names of a declaration to known, and reports types that are mutable by nature or by being
// within others' reach.
func checkVariable(t *testing.T, f sourceFile, spec *ast.ValueSpec, known map[string]bool) {
	typ := spec.Type
	if len(spec.Values) == 1 && typ == nil {
		if lit, ok := spec.Values[0].(*ast.CompositeLit); ok {
			typ = lit.Type
		}
	}
	for _, name := range spec.Names {
		known[name.Name] = name.Name != "_"
		switch typ := typ.(type) {
		case *ast.MapType:
			if name.IsExported() {
				t.Errorf("%s: %s is a map that every package can write to; make it a function", f.at(name), name.Name)
			}
		case *ast.ArrayType:
			if name.IsExported() && typ.Len == nil {
				t.Errorf("%s: %s is a slice that every package can write to; make it a function", f.at(name), name.Name)
			}
		case *ast.ChanType:
			t.Errorf("%s: %s is a channel for the whole package; pass it to who needs it", f.at(name), name.Name)
		case *ast.SelectorExpr:
			if x, ok := typ.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				t.Errorf("%s: %s is shared mutable state; put it into the value that owns it", f.at(name), name.Name)
			}
		}
	}
}

// checkWrites reports assignments to package variables inside functions.
func checkWrites(t *testing.T, f sourceFile, vars map[string]bool) {
	report := func(target ast.Expr) {
		id := root(target)
		if id == nil || !vars[id.Name] {
			return
		}
		if _, packageLevel := declaration(id).(*ast.ValueSpec); id.Obj == nil || packageLevel && !insideFunction(f, id.Obj.Pos()) {
			t.Errorf("%s: package variable %s is written to", f.at(target), id.Name)
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, l := range n.Lhs {
					report(l)
				}
			}
		case *ast.IncDecStmt:
			report(n.X)
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear") && len(n.Args) > 0 {
				report(n.Args[0])
			}
		}
		return true
	})
}

// root returns the variable behind x, x.f, x[i] and *x.
func root(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return root(e.X)
	case *ast.IndexExpr:
		return root(e.X)
	case *ast.StarExpr:
		return root(e.X)
	case *ast.ParenExpr:
		return root(e.X)
	}
	return nil
}

func declaration(id *ast.Ident) any {
	if id.Obj == nil {
		return nil
	}
	return id.Obj.Decl
}

func insideFunction(f sourceFile, pos token.Pos) bool {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Pos() <= pos && pos < fn.End() {
			return true
		}
	}
	return false
}
