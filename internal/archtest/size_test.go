package archtest

import (
	"go/ast"
	"testing"
)

// Sizes above which a review asks whether there are two things inside, and the size that ends the talk.
const (
	longFile      = 500
	longestFile   = 650
	longFunction  = 60
	wideInterface = 4
)

// TestSizes reports what is long (go test -v shows it), and fails for files over the last limit.
func TestSizes(t *testing.T) {
	t.Parallel()
	for _, f := range source(t) {
		switch n := f.lines(); {
		case n > longestFile:
			t.Errorf("%s has %d lines, more than %d: split it", f.path, n, longestFile)
		case n > longFile:
			t.Logf("%4d lines  %s", n, f.path)
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1; lines > longFunction {
					t.Logf("%4d lines  func %s  %s", lines, n.Name.Name, f.at(n))
				}
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > wideInterface {
					t.Logf("%4d methods  interface %s  %s", i.Methods.NumFields(), n.Name.Name, f.at(n))
				}
			}
			return true
		})
	}
}
