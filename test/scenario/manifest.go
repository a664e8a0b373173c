package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	apiyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/deployments/examples"
)

// labImage is in every node of the lab.
const labImage = "lab.test/tools:1"

// change adapts a manifest, which users apply as it is, to the lab.
type change struct {
	namespace string // for objects that name none
	node      string // value of the lab's node label; empty: anywhere
}

// example reads an example with the lab's image, a namespace, a short grace
// period (`sleep` as process 1 ignores SIGTERM) and, if c has one, a node.
func example(file string, c change) (string, error) {
	body, err := examples.Files.ReadFile(file)
	if err != nil {
		return "", err
	}
	return adapt(string(body), c)
}

func adapt(manifest string, c change) (string, error) {
	text := strings.ReplaceAll(manifest, examples.Image, labImage)
	reader := apiyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var out strings.Builder
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return "", err
		}
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return "", err
		}
		c.apply(object)
		changed, err := yaml.Marshal(object)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "---\n%s", changed)
	}
}

func (c change) apply(object map[string]any) {
	kind, _ := object["kind"].(string)
	if c.namespace != "" && !clusterScoped(kind) {
		metadata := child(object, "metadata")
		if metadata["namespace"] == nil {
			metadata["namespace"] = c.namespace
		}
	}
	switch kind {
	case "Namespace":
		child(child(object, "metadata"), "labels")[runLabel] = "true"
	case "Pod":
		c.applyPod(child(object, "spec"))
	case "Deployment", "StatefulSet":
		c.applyPod(child(child(child(object, "spec"), "template"), "spec"))
	}
}

func (c change) applyPod(spec map[string]any) {
	spec["terminationGracePeriodSeconds"] = 1
	if c.node != "" {
		spec["nodeSelector"] = map[string]any{"fairlead.dev/lab-node": c.node}
	}
}

func clusterScoped(kind string) bool {
	return kind == "Namespace" || strings.HasPrefix(kind, "ValidatingAdmissionPolicy")
}

func child(object map[string]any, key string) map[string]any {
	if inner, ok := object[key].(map[string]any); ok {
		return inner
	}
	inner := map[string]any{}
	object[key] = inner
	return inner
}
