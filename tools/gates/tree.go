package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// sourceFile is a parsed Go file.
type sourceFile struct {
	name   string // base name
	syntax *ast.File
	lines  int
	test   bool
}

// goPackage is a directory of Go files.
type goPackage struct {
	dir   string // below the repository, with slashes
	fset  *token.FileSet
	files []sourceFile
}

// readTree parses all Go files of the repository, whatever their build tags.
func readTree(root string, skip []string) ([]goPackage, error) {
	var packages []goPackage
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		dir, err := below(root, path)
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && dir != "."
		if hidden || entry.Name() == "testdata" || slices.Contains(skip, dir) {
			return fs.SkipDir
		}
		p, err := readPackage(path, dir)
		if err == nil && len(p.files) > 0 {
			packages = append(packages, p)
		}
		return err
	})
	return packages, err
}

func below(root, path string) (string, error) {
	rest, err := filepath.Rel(root, path)
	return filepath.ToSlash(rest), err
}

func readPackage(path, dir string) (goPackage, error) {
	p := goPackage{dir: dir, fset: token.NewFileSet()}
	names, err := filepath.Glob(filepath.Join(path, "*.go"))
	if err != nil {
		return p, err
	}
	for _, name := range names {
		syntax, err := parser.ParseFile(p.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return p, err
		}
		p.files = append(p.files, sourceFile{
			name: filepath.Base(name), syntax: syntax,
			lines: p.fset.File(syntax.FileStart).LineCount(),
			test:  strings.HasSuffix(name, "_test.go"),
		})
	}
	return p, nil
}

// line is where a position lies, in its file.
func (p goPackage) line(pos token.Pos) int { return p.fset.Position(pos).Line }

// types returns the types that the package's own files declare, tests left out.
func (p goPackage) types() map[string]*ast.TypeSpec {
	out := map[string]*ast.TypeSpec{}
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, declared := range f.syntax.Decls {
			group, ok := declared.(*ast.GenDecl)
			if !ok || group.Tok != token.TYPE {
				continue
			}
			for _, spec := range group.Specs {
				t := spec.(*ast.TypeSpec) // token.TYPE groups hold nothing else
				out[t.Name.Name] = t
			}
		}
	}
	return out
}
