package main

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.dev/fairlead/pkg/network"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	got, path := strings.Join(lines, "\n")+"\n", filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; rewrite with -update):\n%s", path, diff)
	}
}

func readSample(t *testing.T) sample {
	t.Helper()
	text, err := os.ReadFile("testdata/sample.txt")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseSample(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The pod of testdata/sample.txt.
const sampledUID = "11111111-2222-3333-4444-555555555555"

func sampledPod() (plan, corev1.Pod, map[string]function) {
	k := kind{name: "vf", needs: map[string]int64{"fast": 1}, networks: []wanted{onVF}}
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "vf-7", UID: types.UID(sampledUID), Annotations: map[string]string{
			network.StatusAnnotation: `[{"name": "soak/vf", "interface": "net1", "ips": ["10.160.0.8"], "mac": "02:50:a0:00:00:07"}]`,
		}},
		Spec: corev1.PodSpec{NodeName: "node1"},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour)),
		}}},
	}
	return newPlan(k, 1, 7), pod, map[string]function{"0000:01:10.0": {"pf0", 0}}
}

func TestAPodAsAskedHasNoDifference(t *testing.T) {
	p, pod, vfs := sampledPod()
	if wrong := asAsked(p, pod, readSample(t), vfs); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
}

// The checker must see each fault that it is there for.
func TestEachDifferenceIsFound(t *testing.T) {
	tests := []struct {
		name   string
		change func(*plan, *corev1.Pod, *sample)
		want   string
	}{
		{"VLAN", func(_ *plan, _ *corev1.Pod, s *sample) { s.host[0].VFs[0].VLANs[0].VLAN = 101 }, "at its PF is vlan 101"},
		{"trust", func(_ *plan, _ *corev1.Pod, s *sample) { s.host[0].VFs[0].Trust = false }, "trust false"},
		{"rate", func(_ *plan, _ *corev1.Pod, s *sample) { s.host[0].VFs[0].Rate.MaxTx = 0 }, "max_tx_rate 0"},
		{"MAC at the PF", func(_ *plan, _ *corev1.Pod, s *sample) { s.host[0].VFs[0].MAC = "02:00:00:00:00:01" }, "at its PF is 02:00:00:00:00:01"},
		{"MAC", func(_ *plan, _ *corev1.Pod, s *sample) { vfLink(s).MAC = "02:00:00:00:00:01" }, "the MAC is 02:00:00:00:00:01"},
		{"MTU", func(_ *plan, _ *corev1.Pod, s *sample) { vfLink(s).MTU = 1500 }, "the MTU is 1500, want 9000"},
		{"address", func(p *plan, _ *corev1.Pod, _ *sample) { p.Links[0].IP = "10.160.0.9" }, "the address is [10.160.0.8], want 10.160.0.9"},
		{"kind", func(_ *plan, _ *corev1.Pod, s *sample) { vfLink(s).Info.Kind = "macvlan" }, "the kind is macvlan"},
		{"another VF", func(_ *plan, _ *corev1.Pod, s *sample) { s.pods[sampledUID].devices = []string{"0000:01:10.4"} }, "the VF is 0000:01:10.0, want [0000:01:10.4]"},
		{"no device", func(_ *plan, _ *corev1.Pod, s *sample) { s.pods[sampledUID].devices = nil }, "devices [], want 1"},
		{"link missing", func(_ *plan, _ *corev1.Pod, s *sample) { s.pods[sampledUID].links = s.pods[sampledUID].links[:2] }, "it has the links eth0, want eth0 net1"},
		{"link too many", func(p *plan, _ *corev1.Pod, _ *sample) { p.Links = nil }, "it has the links eth0 net1, want eth0"},
		{"two namespaces", func(_ *plan, _ *corev1.Pod, s *sample) {
			s.pods[sampledUID].netns = append(s.pods[sampledUID].netns, "net:[2]")
		}, "namespaces [net:[4026532500] net:[2]]"},
		{"no namespace", func(_ *plan, _ *corev1.Pod, s *sample) { delete(s.pods, sampledUID) }, "no process of it"},
		{"status of another address", func(_ *plan, pod *corev1.Pod, _ *sample) {
			pod.Annotations[network.StatusAnnotation] = `[{"interface": "net1", "ips": ["10.160.0.9"]}]`
		}, "network-status says  [10.160.0.9] of net1"},
		{"no status", func(_ *plan, pod *corev1.Pod, _ *sample) { pod.Annotations = nil }, "has no network-status"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := readSample(t)
			p, pod, vfs := sampledPod()
			test.change(&p, &pod, &s)
			wrong := asAsked(p, pod, s, vfs)
			if len(wrong) == 0 || !strings.Contains(strings.Join(wrong, "\n"), test.want) {
				t.Errorf("got %q, want a line with %q", wrong, test.want)
			}
		})
	}
}

func vfLink(s *sample) *ipLink { return &s.pods[sampledUID].links[2] }

func TestTwice(t *testing.T) {
	one, other := readSample(t), readSample(t)
	names := map[string]string{sampledUID: "vf-7", "other": "vf-8"}
	if wrong := twice(map[string]sample{"node1": one}, names); len(wrong) > 0 {
		t.Errorf("one pod: %q", wrong)
	}
	one.pods["other"] = other.pods[sampledUID]
	golden(t, "twice.golden", twice(map[string]sample{"node1": one}, names))
}

// Two ipvlans of one master have its MAC, both of them.
func TestMACOfIPVLANIsShared(t *testing.T) {
	link := ipLink{Name: "net1", MAC: "52:54:00:00:00:01"}
	link.Info.Kind = "ipvlan"
	s := sample{pods: map[string]*podSample{"a": {links: []ipLink{link}}, "b": {links: []ipLink{link}}}}
	if wrong := twice(map[string]sample{"node1": s}, nil); len(wrong) > 0 {
		t.Error(wrong)
	}
}

func TestSampleHasTheAgentAndItsCalls(t *testing.T) {
	s := readSample(t)
	want := []agentSample{{pid: 812, peakKiB: 61044, residentKiB: 58120, files: 31}}
	if !slices.Equal(s.agents, want) {
		t.Errorf("agents %v, want %v", s.agents, want)
	}
	tally := newTally(t.Logf)
	tally.addCalls(s.calls)
	tally.addCalls(s.calls) // the next sample has the same lines
	golden(t, "calls.golden", strings.Split(strings.TrimSpace(tally.summary()), "\n"))
}
