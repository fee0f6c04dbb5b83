package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "gatehouse/"

// sourceFile is one Go file that is not a test.
type sourceFile struct {
	path string // from the root of the repository, with slashes
	fset *token.FileSet
	ast  *ast.File
}

// pkg returns the directory, which names the package: internal/web, cmd/gatehouse.
func (f sourceFile) pkg() string { return path.Dir(f.path) }

// short returns the package without internal/.
func (f sourceFile) short() string { return strings.TrimPrefix(f.pkg(), "internal/") }

func (f sourceFile) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

func (f sourceFile) lines() int { return f.fset.File(f.ast.FileStart).LineCount() }

// imports returns the import paths by the names under which the file knows them.
func (f sourceFile) imports() map[string]string {
	m := map[string]string{}
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if len(name) > 1 && name[0] == 'v' && name[1] >= '0' && name[1] <= '9' {
			name = path.Base(path.Dir(p)) // …/go-jose/v4
		}
		name = strings.TrimPrefix(name, "go-")
		if spec.Name != nil {
			name = spec.Name.Name
		}
		m[name] = p
	}
	return m
}

// source parses every Go file of the program; tests are left out.
func source(t *testing.T) []sourceFile {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []sourceFile
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || strings.Contains(p, "testdata") {
				return err
			}
			fset := token.NewFileSet()
			tree, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			files = append(files, sourceFile{filepath.ToSlash(rel), fset, tree})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}
