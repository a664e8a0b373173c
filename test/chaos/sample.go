package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed sample.sh
var sampleScript string

// sample is a node at one moment, as its kernel shows it.
type sample struct {
	host   []ipLink
	pods   map[string]*podSample // by the pod's UID
	agents []agentSample
	calls  []string // lines of the agent's log
}

// podSample is a pod's network namespace and devices. A pod that is being made or
// deleted may show only a part.
type podSample struct {
	containers []string
	netns      []string // more than one: processes of one pod in two namespaces
	devices    []string // PCI addresses in the containers' environment
	links      []ipLink
}

// agentSample is the agent's process.
type agentSample struct{ pid, peakKiB, residentKiB, files int }

// execer runs a command on a node.
type execer interface {
	Exec(ctx context.Context, node, command string) (string, error)
}

// takeSample reads a node.
func takeSample(ctx context.Context, lab execer, node string) (sample, error) {
	out, err := lab.Exec(ctx, node, sampleScript)
	if err != nil {
		return sample{}, err
	}
	s, err := parseSample(out)
	if err != nil {
		return sample{}, fmt.Errorf("sample of %s: %w", node, err)
	}
	return s, nil
}

func parseSample(out string) (sample, error) {
	s := sample{pods: map[string]*podSample{}}
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if err := s.add(word, rest); err != nil {
			return sample{}, fmt.Errorf("line %.200q: %w", lines.Text(), err)
		}
	}
	return s, lines.Err()
}

func (s *sample) add(word, rest string) error {
	fields := strings.Fields(rest)
	switch {
	case word == "host":
		return json.Unmarshal([]byte(rest), &s.host)
	case word == "agent" && len(fields) == 4:
		return s.addAgent(fields)
	case word == "call":
		s.calls = append(s.calls, rest)
	case word == "process" && len(fields) >= 3:
		p := s.pod(fields[0])
		p.containers = addNew(p.containers, fields[1])
		p.netns = addNew(p.netns, fields[2])
		for _, device := range strings.FieldsFunc(strings.Join(fields[3:], ","), isComma) {
			p.devices = addNew(p.devices, device)
		}
	case word == "links" && len(fields) > 2:
		_, text, _ := strings.Cut(rest, fields[1]+" ")
		return json.Unmarshal([]byte(text), &s.pod(fields[0]).links)
	}
	return nil // a process has gone while it was read
}

func isComma(r rune) bool { return r == ',' }

func (s *sample) addAgent(fields []string) error {
	var numbers [4]int
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	s.agents = append(s.agents, agentSample{numbers[0], numbers[1], numbers[2], numbers[3]})
	return nil
}

func (s *sample) pod(uid string) *podSample {
	if s.pods[uid] == nil {
		s.pods[uid] = &podSample{}
	}
	return s.pods[uid]
}

func addNew(list []string, item string) []string {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// vfAt returns the knobs of the VF with this PCI address, from its PF. functions maps
// the PCI addresses of VFs to PF and index.
func (s sample) vfAt(functions map[string]function, address string) (vfInfo, bool) {
	f := functions[address]
	for _, l := range s.host {
		if l.Name != f.pf {
			continue
		}
		for _, v := range l.VFs {
			if v.VF == f.index {
				return v, true
			}
		}
	}
	return vfInfo{}, false
}

// function is the place of a VF at its PF.
type function struct {
	pf    string
	index int
}

const listFunctions = `for f in /sys/class/net/pf*/device/virtfn*; do [ -e "$f" ] || continue
p=${f#/sys/class/net/}; echo "${p%%/*} ${f##*virtfn} $(basename "$(readlink "$f")")"; done`

// functions lists the VFs of a node by their PCI address.
func functions(ctx context.Context, lab execer, node string) (map[string]function, error) {
	out, err := lab.Exec(ctx, node, listFunctions)
	if err != nil {
		return nil, err
	}
	all := map[string]function{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: VF line %q", node, line)
		}
		index, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, err
		}
		all[fields[2]] = function{fields[0], index}
	}
	return all, nil
}
