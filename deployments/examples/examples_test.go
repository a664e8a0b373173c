package examples

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
)

const defaultNamespace = "default"

// Every example decodes with no unknown field, and every annotation, network and
// configuration in it is accepted by the parsers that the agent uses.
func TestExamplesAreAccepted(t *testing.T) {
	files := exampleFiles(t)
	if len(files) < 20 {
		t.Fatalf("only %d example files are embedded", len(files))
	}
	decoder := strictDecoder(t)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			body, err := Files.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			e := readExample(t, decoder, file, body)
			for _, pod := range e.pods {
				e.checkPod(t, pod)
			}
			if len(e.networks)+len(e.profiles)+len(e.configs) == 0 {
				t.Error("the file declares no network, no profile and no device plugin configuration")
			}
		})
	}
}

// The examples of the README are accepted as well.
func TestReadmeIsAccepted(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```yaml\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("%d YAML blocks, want a profile and a network with its pod", len(blocks))
	}
	decoder := strictDecoder(t)
	for i, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		e := readExample(t, decoder, fmt.Sprintf("README.md, block %d", i+1), []byte(text))
		for _, pod := range e.pods {
			e.checkPod(t, pod)
		}
		if len(e.profiles)+len(e.pods) != 1 {
			t.Errorf("block %d has %d profiles and %d pods", i+1, len(e.profiles), len(e.pods))
		}
	}
}

func TestPoliciesAreAccepted(t *testing.T) {
	found, err := fs.Glob(Files, "policies/*.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("policies %v, %v", found, err)
	}
	for _, file := range found {
		body, err := Files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if policies, err := config.ParsePolicy(body, file); err != nil || len(policies) == 0 {
			t.Errorf("%s: %d policies, %v", file, len(policies), err)
		}
	}
}

func TestEveryScenarioHasAFile(t *testing.T) {
	for n := 1; n <= 14; n++ {
		found, err := fs.Glob(Files, fmt.Sprintf("scenarios/%02d-*.yaml", n))
		if err != nil || len(found) != 1 {
			t.Errorf("scenario %d has the files %v, %v; want one", n, found, err)
		}
	}
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, dir := range []string{"scenarios", "profiles", "pods", "device-plugin"} {
		found, err := fs.Glob(Files, dir+"/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

func strictDecoder(t *testing.T) runtime.Decoder {
	t.Helper()
	known := runtime.NewScheme()
	if err := scheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	if err := nadv1.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	return kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, known, known, kjson.SerializerOptions{Yaml: true, Strict: true})
}

// example is one file, decoded.
type example struct {
	networks map[string]network.Definition
	pods     []podTemplate
	profiles []config.Declaration
	configs  []string
}

type podTemplate struct {
	name        string
	namespace   string
	annotations map[string]string
	spec        corev1.PodSpec
}

func readExample(t *testing.T, decoder runtime.Decoder, file string, body []byte) example {
	t.Helper()
	if strings.Contains(string(body), "kind: NICProfile") {
		profiles, err := config.ParseProfile(body, file)
		if err != nil {
			t.Fatal(err)
		}
		return example{profiles: profiles}
	}
	e := example{networks: map[string]network.Definition{}}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(body)))
	for {
		document, err := reader.Read()
		if err == io.EOF {
			return e
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		e.add(t, object)
	}
}

func (e *example) add(t *testing.T, object runtime.Object) {
	t.Helper()
	switch o := object.(type) {
	case *nadv1.NetworkAttachmentDefinition:
		d, err := network.ParseDefinition(orDefault(o.Namespace), o.Name, o.Spec.Config, o.Annotations)
		if err != nil {
			t.Fatal(err)
		}
		e.networks[d.Network()] = d
	case *corev1.Pod:
		e.pods = append(e.pods, podTemplate{o.Name, orDefault(o.Namespace), o.Annotations, o.Spec})
	case *appsv1.Deployment:
		e.pods = append(e.pods, podTemplate{o.Name, orDefault(o.Namespace), o.Spec.Template.Annotations, o.Spec.Template.Spec})
	case *appsv1.StatefulSet:
		e.pods = append(e.pods, podTemplate{o.Name, orDefault(o.Namespace), o.Spec.Template.Annotations, o.Spec.Template.Spec})
	case *corev1.ConfigMap:
		if _, ok := o.Data["config.json"]; !ok {
			return
		}
		if _, err := config.ParseDevicePluginConfig([]byte(o.Data["config.json"]), o.Name, "intel.com"); err != nil {
			t.Fatal(err)
		}
		e.configs = append(e.configs, o.Name)
	}
}

// checkPod plans the pod's networks as the agent would, with as many devices as
// the pod requests.
func (e *example) checkPod(t *testing.T, pod podTemplate) {
	t.Helper()
	devices := map[string][]string{}
	for _, c := range pod.spec.Containers {
		if c.Image != Image {
			t.Errorf("pod %s has image %s; tests replace %s", pod.name, c.Image, Image)
		}
		for resource, quantity := range c.Resources.Requests {
			for i := range quantity.Value() {
				if strings.Contains(string(resource), "/") {
					devices[string(resource)] = append(devices[string(resource)], fmt.Sprintf("0000:03:10.%d", i))
				}
			}
		}
	}
	selections, err := network.ParseSelections(pod.annotations[network.NetworksAnnotation], pod.namespace)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := network.Resolve(network.Input{
		Pod: network.Pod{Namespace: pod.namespace, Name: pod.name}, SandboxID: "abc", PrimaryIfName: "eth0",
		Selections: selections, Definitions: e.networks, Devices: devices,
	})
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]int{}
	for _, p := range plan {
		if p.Device != "" {
			used[p.Resource]++
		}
		for _, plugin := range p.List.Plugins {
			if conf := plugin.Fields.JSON(); !json.Valid(conf) {
				t.Errorf("pod %s, network %s: plugin %s got a config that is no JSON: %s", pod.name, p.Network, plugin.Type, conf)
			}
		}
	}
	for _, resource := range slices.Sorted(maps.Keys(devices)) {
		if used[resource] != len(devices[resource]) {
			t.Errorf("pod %s requests %d of %s, and its networks use %d", pod.name, len(devices[resource]), resource, used[resource])
		}
	}
}

func orDefault(namespace string) string {
	if namespace == "" {
		return defaultNamespace
	}
	return namespace
}
