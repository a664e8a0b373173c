package inventory

import (
	"bytes"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/test/fuzz"
)

func TestParseUevent(t *testing.T) {
	vf := pci.MustParseAddress("0000:3b:10.0")
	tests := map[string]struct {
		fields string // separated by blanks
		want   Event
		ok     bool
	}{
		"VF added": {
			"add@/devices/pci0000:3a/0000:3a:00.0/0000:3b:10.0 ACTION=add DEVPATH=/devices/pci0000:3a/0000:3a:00.0/0000:3b:10.0 SUBSYSTEM=pci PCI_SLOT_NAME=0000:3b:10.0 SEQNUM=1",
			Event{Function: vf}, true},
		"driver bound": {
			"bind@/x ACTION=bind DEVPATH=/devices/pci0000:3a/0000:3a:00.0/0000:3b:10.0 SUBSYSTEM=pci DRIVER=vfio-pci",
			Event{Function: vf}, true},
		"netdev renamed": {
			"move@/x ACTION=move DEVPATH=/devices/pci0000:3a/0000:3a:00.0/0000:3b:10.0/net/net1 DEVPATH_OLD=/devices/x SUBSYSTEM=net INTERFACE=net1 IFINDEX=7",
			Event{Function: vf, Netdev: "net1"}, true},
		"RDMA device": {
			"add@/x DEVPATH=/devices/pci0000:3a/0000:3b:10.0/infiniband/mlx5_2 SUBSYSTEM=infiniband NAME=mlx5_2",
			Event{Function: vf}, true},
		"uverbs node (devices A2)": {
			"add@/x DEVPATH=/devices/pci0000:3a/0000:3b:10.0/infiniband_verbs/uverbs2 SUBSYSTEM=infiniband_verbs",
			Event{Function: vf}, true},
		"netdev below an auxiliary device": {
			"add@/x DEVPATH=/devices/pci0000:3a/0000:3b:10.0/mlx5_core.eth.4/net/eth4 SUBSYSTEM=net INTERFACE=eth4",
			Event{Function: vf, Netdev: "eth4"}, true},
		"netdev without a function": {
			"add@/x DEVPATH=/devices/virtual/net/veth1 SUBSYSTEM=net INTERFACE=veth1",
			Event{Netdev: "veth1"}, true},
		"queue":           {"add@/x DEVPATH=/devices/pci0000:3a/0000:3b:10.0/net/eth0/queues/rx-0 SUBSYSTEM=queues", Event{}, false},
		"another device":  {"add@/x DEVPATH=/devices/virtual/block/loop0 SUBSYSTEM=block", Event{}, false},
		"auxiliary alone": {"add@/x DEVPATH=/devices/x/foo.bar.1 SUBSYSTEM=auxiliary", Event{}, false},
		"from udev":       {"libudev SUBSYSTEM=usb", Event{}, false},
		"empty":           {"", Event{}, false},
		"no value":        {"add@ DEVPATH SUBSYSTEM=pci", Event{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := parseUevent([]byte(strings.ReplaceAll(tt.fields, " ", "\x00") + "\x00"))
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("parseUevent = %+v, %v; want %+v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/a/0000:3b:10.0\x00DEVPATH=/devices/a/0000:3b:10.0\x00SUBSYSTEM=pci\x00"))
	f.Add([]byte("move@/devices/virtual/net/veth1\x00DEVPATH=/devices/pci0000:3a/0000:3b:10.0/net/eth0\x00SUBSYSTEM=net\x00INTERFACE=eth0\x00"))
	f.Add([]byte("bind@\x00DEVPATH=" + strings.Repeat("/", 2000) + "\x00SUBSYSTEM=auxiliary\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var e Event
		var ok bool
		fuzz.Allocates(t, len(msg), func() { e, ok = parseUevent(msg) })
		if ok && e.Function.IsZero() && e.Netdev == "" {
			t.Errorf("%q: an event that names nothing", msg)
		}
		if strings.Contains(e.Netdev, "\x00") || ok && !e.Function.IsZero() && !bytes.Contains(bytes.ToLower(msg), []byte(e.Function.String()[5:])) {
			t.Errorf("%q: %+v is not in it", msg, e)
		}
	})
}
