package main

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// sizes checks types, interfaces, functions and files. Tests are left out: a table of
// cases is long and easy to read.
func sizes(packages []goPackage, most limits) []violation {
	var found []violation
	for _, p := range packages {
		found = append(found, typeSizes(p, most)...)
		found = append(found, interfaceSizes(p, most)...)
		for _, f := range p.files {
			if !f.test {
				found = append(found, fileSizes(p, f, most)...)
			}
		}
	}
	return found
}

// typeSizes checks how many methods a type has, and over how many files they lie.
func typeSizes(p goPackage, most limits) []violation {
	methods, files := map[string]int{}, map[string]map[string]bool{}
	for _, f := range p.files {
		for _, declared := range f.syntax.Decls {
			name, ok := receiver(declared)
			if !ok || f.test {
				continue
			}
			methods[name]++
			if files[name] == nil {
				files[name] = map[string]bool{}
			}
			files[name][f.name] = true
		}
	}
	var found []violation
	for name, t := range p.types() {
		if n := methods[name] + promoted(t, p.types(), methods, map[string]bool{}); n > most.MethodsPerType {
			found = append(found, violation{"type", p.dir + "." + name, fmt.Sprintf("%d methods, at most %d: it is several types", n, most.MethodsPerType)})
		}
		if n := len(files[name]); n > most.FilesPerType {
			in := strings.Join(slices.Sorted(maps.Keys(files[name])), " ")
			found = append(found, violation{"spread", p.dir + "." + name, fmt.Sprintf("methods in %d files, at most %d: %s", n, most.FilesPerType, in)})
		}
	}
	return found
}

// promoted counts the methods that a struct gets by embedding types of its package:
// embedding does not make a type smaller.
func promoted(t *ast.TypeSpec, types map[string]*ast.TypeSpec, methods map[string]int, seen map[string]bool) int {
	fields, ok := t.Type.(*ast.StructType)
	if !ok || seen[t.Name.Name] {
		return 0
	}
	seen[t.Name.Name] = true
	n := 0
	for _, field := range fields.Fields.List {
		name, ok := typeName(field.Type)
		if embedded := types[name]; ok && embedded != nil && len(field.Names) == 0 {
			n += methods[name] + promoted(embedded, types, methods, seen)
		}
	}
	return n
}

// receiver returns the type whose method a declaration is.
func receiver(declared ast.Decl) (string, bool) {
	f, ok := declared.(*ast.FuncDecl)
	if !ok || f.Recv == nil {
		return "", false
	}
	return typeName(f.Recv.List[0].Type)
}

// typeName returns the name of a type of the package, without pointer and parameters.
func typeName(t ast.Expr) (string, bool) {
	for {
		switch of := t.(type) {
		case *ast.StarExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.IndexListExpr:
			t = of.X
		case *ast.Ident:
			return of.Name, true
		default:
			return "", false
		}
	}
}

func interfaceSizes(p goPackage, most limits) []violation {
	var found []violation
	types := p.types()
	for name := range types {
		if n := interfaceMethods(name, types, map[string]bool{}); n > most.MethodsPerInterface {
			found = append(found, violation{"interface", p.dir + "." + name, fmt.Sprintf("%d methods, at most %d: it is several interfaces", n, most.MethodsPerInterface)})
		}
	}
	return found
}

// interfaceMethods counts methods with those of embedded interfaces of the package. An
// embedded interface of another package counts as one. It is 0 for other types.
func interfaceMethods(name string, types map[string]*ast.TypeSpec, seen map[string]bool) int {
	spec, ok := types[name]
	if !ok || seen[name] {
		return 0
	}
	seen[name] = true
	t, ok := spec.Type.(*ast.InterfaceType)
	if !ok {
		return 0
	}
	n := 0
	for _, member := range t.Methods.List {
		if embedded, ok := member.Type.(*ast.Ident); ok && len(member.Names) == 0 {
			n += interfaceMethods(embedded.Name, types, seen)
			continue
		}
		n += max(len(member.Names), 1)
	}
	return n
}

func fileSizes(p goPackage, f sourceFile, most limits) []violation {
	var found []violation
	path := p.dir + "/" + f.name
	if f.lines > most.LinesPerFile && !ast.IsGenerated(f.syntax) {
		found = append(found, violation{"file", path, fmt.Sprintf("%d lines, at most %d", f.lines, most.LinesPerFile)})
	}
	for _, declared := range f.syntax.Decls {
		fn, ok := declared.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := p.line(fn.End()) - p.line(fn.Pos()) + 1; n > most.LinesPerFunction {
			found = append(found, violation{"function", path + " " + fn.Name.Name, fmt.Sprintf("%d lines, at most %d", n, most.LinesPerFunction)})
		}
	}
	return found
}
