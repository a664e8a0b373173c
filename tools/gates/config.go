package main

import (
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// config is gates.yaml.
type config struct {
	Limits   limits      `json:"limits"`
	Skip     []string    `json:"skip"` // directories whose Go files are not the project's own
	Glossary glossary    `json:"glossary"`
	English  english     `json:"english"`
	Allowed  []exception `json:"allowed"`
}

// limits are the largest values that are allowed.
type limits struct {
	MethodsPerType      int `json:"methodsPerType"`
	FilesPerType        int `json:"filesPerType"` // over which a type's methods are spread
	MethodsPerInterface int `json:"methodsPerInterface"`
	LinesPerFunction    int `json:"linesPerFunction"`
	LinesPerFile        int `json:"linesPerFile"`
}

// exception permits one violation for now.
type exception struct {
	Gate string `json:"gate"`
	What string `json:"what"` // as the violation prints it
	Why  string `json:"why"`
}

// violation is one thing that exceeds a limit.
type violation struct {
	Gate, What string // the key of an exception
	Detail     string
}

// String is a line of the report.
func (v violation) String() string { return v.Gate + ": " + v.What + ": " + v.Detail }

func (v violation) compare(other violation) int {
	return strings.Compare(v.Gate+v.What, other.Gate+other.What)
}

func readConfig(path string) (config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return config{}, err
	}
	var c config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, err)
	}
	for i, e := range c.Allowed {
		if e.Gate == "" || e.What == "" || e.Why == "" {
			return config{}, fmt.Errorf("%s: allowed[%d]: gate, what and why must be set", path, i)
		}
	}
	return c, c.English.compile()
}

// apply removes the allowed violations. An exception that nothing needs is one itself.
func (c config) apply(found []violation) []violation {
	allowed := map[[2]string]bool{}
	for _, e := range c.Allowed {
		allowed[[2]string{e.Gate, e.What}] = false
	}
	var left []violation
	for _, v := range found {
		key := [2]string{v.Gate, v.What}
		if _, ok := allowed[key]; ok {
			allowed[key] = true
			continue
		}
		left = append(left, v)
	}
	for _, e := range c.Allowed {
		if !allowed[[2]string{e.Gate, e.What}] {
			left = append(left, violation{e.Gate, e.What, "is within the limit now; remove its exception"})
		}
	}
	return left
}
