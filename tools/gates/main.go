// Command gates checks the repository against limits that no linter knows: the size of
// types, interfaces, functions and files, one home per noun (docs/design/glossary.md),
// and the English of comments and documents. It reads gates.yaml beside it, changes
// nothing unless -lower is given, and ends with 1 if a limit is exceeded.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the command line.
type options struct {
	root     string // of the repository
	hits     bool   // print each hit of the English patterns
	lower    bool   // write lower ceilings
	settings string
	ceilings string
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("gates", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "the repository")
	flags.BoolVar(&o.hits, "hits", false, "print each hit of the English patterns, not only those of packages above their ceiling")
	flags.BoolVar(&o.lower, "lower", false, "lower the English ceilings to the present counts; never raises one")
	flags.StringVar(&o.settings, "config", "tools/gates/gates.yaml", "limits, patterns and exceptions; below the repository")
	flags.StringVar(&o.ceilings, "ceilings", "tools/gates/english.yaml", "English hits allowed per package; below the repository")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	violations, err := check(o, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "gates:", err)
		return 2
	}
	for _, v := range violations {
		fmt.Fprintln(stderr, "gates:", v)
	}
	if len(violations) > 0 {
		return 1
	}
	return 0
}

// check runs all gates and returns what exceeds a limit, in order.
func check(o options, out io.Writer) ([]violation, error) {
	c, err := readConfig(filepath.Join(o.root, o.settings))
	if err != nil {
		return nil, err
	}
	packages, err := readTree(o.root, c.Skip)
	if err != nil {
		return nil, err
	}
	found := sizes(packages, c.Limits)
	nouns, err := readGlossary(o.root, c.Glossary)
	if err != nil {
		return nil, err
	}
	found = c.apply(append(found, homes(packages, nouns, c.Glossary)...))
	english, err := checkEnglish(o, c, packages, out)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, violation.compare)
	return append(found, english...), nil
}
