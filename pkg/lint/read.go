package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/pkg/config"
)

// File is one file with manifests.
type File struct {
	Name string
	Text []byte
	// NoConfigMaps leaves the ConfigMaps out: others are to take their place.
	NoConfigMaps bool
}

// object has the fields of any manifest that matter here.
type object struct {
	file File

	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       struct {
		Config      string       `json:"config"`   // of a net-attach-def
		Template    *podTemplate `json:"template"` // of a Deployment and its like
		JobTemplate *struct {
			Spec struct {
				Template *podTemplate `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
	Status struct {
		Error string `json:"error"` // of a net-attach-def that the agent could not parse
	} `json:"status"`
	Data  map[string]string `json:"data"` // of a ConfigMap
	Items []json.RawMessage `json:"items"`
}

type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Annotations map[string]string `json:"annotations"`
}

type podTemplate struct {
	Metadata metadata `json:"metadata"`
}

// name is the kind and the name, as users write them.
func (o object) name() string {
	return fmt.Sprintf("%s %s/%s", o.Kind, o.namespace(), o.Metadata.Name)
}

func (o object) namespace() string {
	if o.Metadata.Namespace == "" {
		return "default"
	}
	return o.Metadata.Namespace
}

// podAnnotations returns the annotations of the pods that the object is or makes.
func (o object) podAnnotations() map[string]string {
	switch {
	case o.Kind == "Pod":
		return o.Metadata.Annotations
	case o.Spec.Template != nil:
		return o.Spec.Template.Metadata.Annotations
	case o.Spec.JobTemplate != nil && o.Spec.JobTemplate.Spec.Template != nil:
		return o.Spec.JobTemplate.Spec.Template.Metadata.Annotations
	}
	return nil
}

// manifests is the content of the files, parsed.
type manifests struct {
	networks []object
	pods     []object
	policies []config.Policy
	profiles []config.Declaration
	objects  int
}

// The ConfigMaps that the agent reads.
const (
	policiesConfigMap = "fairlead-policies"
	profilesConfigMap = "fairlead-profiles"
)

// read reads the files. Each fault is a finding; the rest is read nevertheless.
func (l *linter) read(files []File) {
	for _, f := range files {
		l.readDeclared(f)
		for i, doc := range config.Documents(f.Text) {
			if err := l.readObject(f, doc); err != nil {
				l.refuse(f.Name, fmt.Errorf("document %d: %w", i+1, err))
			}
		}
	}
}

// readDeclared reads policies and profiles, which say themselves on which line a fault is.
func (l *linter) readDeclared(f File) {
	of := func(kind string) []byte {
		return config.JoinDocuments(f.Text, func(doc []byte) bool { return kindOf(doc) == kind })
	}
	l.addPolicies(f.Name, of("AttachmentPolicy"))
	l.addProfiles(f.Name, of("NICProfile"))
}

func (l *linter) addPolicies(source string, text []byte) {
	list, err := config.ParsePolicy(text, source)
	l.refuse(source, err)
	l.policies = append(l.policies, list...)
	l.objects += len(list)
}

func (l *linter) addProfiles(source string, text []byte) {
	list, err := config.ParseProfile(text, source)
	l.refuse(source, err)
	l.profiles = append(l.profiles, list...)
	l.objects += len(list)
}

func kindOf(doc []byte) string {
	var o struct {
		Kind string `json:"kind"`
	}
	_ = yaml.Unmarshal(doc, &o) // a document that cannot be read is reported by readObject
	return o.Kind
}

func (l *linter) readObject(file File, doc []byte) error {
	raw, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return err
	}
	if string(raw) == "null" {
		return nil
	}
	o := object{file: file}
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	switch {
	case o.Kind == "" && len(o.Items) == 0:
		return errors.New("it has no kind, so it is not a manifest")
	case len(o.Items) > 0:
		return l.readItems(file, o.Items)
	case slices.Contains([]string{"AttachmentPolicy", "NICProfile"}, o.Kind):
		return nil // readDeclared has it
	}
	l.add(o)
	return nil
}

// readItems reads the objects of a List.
func (l *linter) readItems(file File, items []json.RawMessage) error {
	var errs []error
	for _, item := range items {
		var o object
		err := json.Unmarshal(item, &o)
		o.file = file
		switch {
		case err != nil:
			errs = append(errs, err)
		case o.Kind == "AttachmentPolicy":
			l.addPolicies(file.Name, item)
		case o.Kind == "NICProfile":
			l.addProfiles(file.Name, item)
		default:
			l.add(o)
		}
	}
	return errors.Join(errs...)
}

// add sorts an object in. Fairlead does not read other kinds.
func (l *linter) add(o object) {
	switch {
	case o.Kind == "NetworkAttachmentDefinition":
		l.networks = append(l.networks, o)
	case o.Kind == "ConfigMap" && o.file.NoConfigMaps:
		return
	case o.Kind == "ConfigMap" && o.Metadata.Name == policiesConfigMap:
		for _, key := range sortedKeys(o.Data) {
			l.addPolicies(o.file.Name+": ConfigMap "+o.Metadata.Name+"/"+key, []byte(o.Data[key]))
		}
		return
	case o.Kind == "ConfigMap" && o.Metadata.Name == profilesConfigMap:
		for _, key := range sortedKeys(o.Data) {
			l.addProfiles(o.file.Name+": ConfigMap "+o.Metadata.Name+"/"+key, []byte(o.Data[key]))
		}
		return
	case o.Kind == "Pod" || o.Spec.Template != nil || o.Spec.JobTemplate != nil:
		l.pods = append(l.pods, o)
	default:
		return
	}
	l.objects++
}
