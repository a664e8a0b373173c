package kube

import (
	"strings"
	"testing"
)

// fairleadctl lint reads the objects that a policy could refuse.
func TestManifestsAreTheCachedObjects(t *testing.T) {
	s := newAPIServer(t)
	s.put(nadPath, nadObject(`{"type": "macvlan"}`))
	broken := nadObject(`{`)
	broken.meta()["name"] = "broken"
	s.put(strings.Replace(nadPath, "data", "broken", 1), broken)
	s.put(podPath, podObject("u1"))
	s.put(mapPath, mapObject("kind: NICProfile"))
	c := start(t, s)
	eventually(t, "the net-attach-defs are cached", c.networks.HasSynced)
	body, err := c.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"kind":"List"`, `"kind":"NetworkAttachmentDefinition"`, `\"type\":\"macvlan\"`,
		`"status":{"error":"net-attach-def nfv/broken, spec.config: `,
		`"kind":"Pod"`, `"k8s.v1.cni.cncf.io/networks":"data"`, `"kind":"ConfigMap"`, `"a.yaml":"kind: NICProfile"`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
}
