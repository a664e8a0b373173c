package link

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Names and aliases in these messages come from pods. No bytes may end the agent.
func FuzzMessages(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWLINK), linkMessage(7, attr(unix.IFLA_IFNAME, "net1\x00"), num32(unix.IFLA_LINK, 3),
		nested(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, "vxlan\x00"), nested(unix.IFLA_INFO_DATA, num32(nl.IFLA_VXLAN_LINK, 3)))))
	f.Add(uint16(unix.RTM_NEWLINK), linkMessage(7, nested(unix.IFLA_VFINFO_LIST, nested(nl.IFLA_VF_INFO, wholeVF(1)...))))
	f.Add(uint16(unix.RTM_NEWADDR), message(nl.NewIfAddrmsg(unix.AF_INET).Serialize(), attr(unix.IFA_ADDRESS, "\xc0\x00\x02\x01")))
	f.Add(uint16(unix.RTM_NEWROUTE), message(nl.NewRtMsg().Serialize(), attr(unix.RTA_MULTIPATH, "\x08\x00\x00\x00\x07\x00\x00\x00")))
	f.Fuzz(func(t *testing.T, typ uint16, payload []byte) {
		table := &useTable{links: map[int]linkRow{}, addresses: map[int][]addressKey{}, defaults: map[int]struct{}{}}
		_, _ = table.apply(typ, payload)
		_ = table.all()
		_, _ = parse(payload)
		_, _, _ = parseAddress(payload)
		_, _, _ = parseRoute(payload)
		_ = kernelError(unix.NlMsghdr{Type: unix.NLMSG_ERROR, Flags: unix.NLM_F_ACK_TLVS}, payload)
		vfs, _ := vfList(payload)
		for _, vf := range vfs {
			_, _, _ = parseSettings(vf)
		}
		for m := messagesOf(payload); m.next(); {
		}
	})
}
