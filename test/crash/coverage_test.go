package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryStepHasACase reads the source: a step that no operation names is a step that nobody dies at, and a
// name that the source does not have is a case that tests nothing.
func TestEveryStepHasACase(t *testing.T) {
	covered := map[string]bool{}
	for _, op := range operations() {
		for _, step := range op.steps {
			covered[step] = true
		}
	}
	inSource, err := stepsBelow("../../pkg")
	if err != nil {
		t.Fatal(err)
	}
	for step, where := range inSource {
		if !covered[step] {
			t.Errorf("%s: no crash case dies at the step %q; add it to operations()", where, step)
		}
	}
	for step := range covered {
		if inSource[step] == (token.Position{}) {
			t.Errorf("there is no step %q in the source", step)
		}
	}
}

// stepsBelow finds the calls x.step("literal") and where they are.
func stepsBelow(root string) (map[string]token.Position, error) {
	steps, files := map[string]token.Position{}, token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && filepath.Base(path) == "install" {
			return filepath.SkipDir // its own test dies at each of its steps
		}
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if name, ok := stepOf(n); ok {
				steps[name] = files.Position(n.Pos())
			}
			return true
		})
		return nil
	})
	return steps, err
}

func stepOf(n ast.Node) (name string, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return "", false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !strings.EqualFold(method.Sel.Name, "step") {
		return "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	name, err := strconv.Unquote(literal.Value)
	return name, err == nil
}
