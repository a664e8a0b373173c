package attach

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
)

func (f fakeLinks) vf(pfIndex, n int) (*fakeLink, *fakeVF, error) {
	pf, err := f.find(pfIndex)
	if err != nil {
		return nil, nil, err
	}
	if n >= len(pf.vfs) {
		return nil, nil, fail("vf", unix.EINVAL)
	}
	return pf, pf.vfs[n], nil
}

// VFs counts as one dump.
func (f fakeLinks) VFs(pfIndex int) (map[int]device.Settings, error) {
	f.dumps++
	if err := f.read("reading VFs"); err != nil {
		return nil, err
	}
	pf, err := f.find(pfIndex)
	if err != nil {
		return nil, err
	}
	if f.driver.noVFInfo {
		return nil, fail("reading VFs", unix.EOPNOTSUPP)
	}
	all := map[int]device.Settings{}
	for n, vf := range pf.vfs {
		all[n] = f.settings(vf.info) // the pointers in it are the caller's to keep
	}
	return all, nil
}

func (f fakeLinks) settings(i fakeVFInfo) device.Settings {
	s := device.Settings{AdminMAC: &i.MAC, VLAN: &i.VLAN, QoS: &i.QoS, VLANProto: &i.VLANProto,
		MinTxRate: &i.MinTxRateMbps, MaxTxRate: &i.MaxTxRateMbps, LinkState: &i.LinkState}
	if !f.driver.mute {
		spoof, trust := *i.SpoofCheck, *i.Trust
		s.SpoofCheck, s.Trust = &spoof, &trust
	}
	if f.driver.muteMAC {
		s.AdminMAC = nil
	}
	return s
}

// SetVF applies the values in the kernel's order, and stops at the first that the
// driver refuses.
func (f fakeLinks) SetVF(pfIndex, n int, s device.Settings) error {
	if err := f.write("vf %d%s", n, f.words(s)); err != nil {
		return err
	}
	pf, vf, err := f.vf(pfIndex, n)
	if err != nil {
		return err
	}
	i := &vf.info
	if s.AdminMAC != nil {
		f.setAdminMAC(vf, *s.AdminMAC)
	}
	if s.VLAN != nil {
		if *s.VLANProto == "802.1ad" && !f.driver.tags8021ad {
			return fail("vlan", unix.EPROTONOSUPPORT)
		}
		i.VLAN, i.QoS, i.VLANProto = *s.VLAN, *s.QoS, *s.VLANProto
		if f.driver.vlanCosts && vf.netdev != nil {
			vf.netdev.features = []string{"rx-checksum", "tx-tcp-segmentation"}
			if i.VLAN != 0 {
				vf.netdev.features = []string{"rx-checksum"}
			}
		}
	}
	if s.MinTxRate != nil || s.MaxTxRate != nil {
		lowest, highest := orZero(s.MinTxRate), orZero(s.MaxTxRate)
		if lowest != 0 && !f.driver.minRate || highest > 1000 || !pf.Carrier {
			return fail("rate", unix.EINVAL)
		}
		i.MinTxRateMbps, i.MaxTxRateMbps = lowest, highest
	}
	if s.SpoofCheck != nil {
		i.SpoofCheck = s.SpoofCheck
	}
	if s.LinkState != nil {
		if !f.driver.linkState {
			return fail("link state", unix.EOPNOTSUPP)
		}
		i.LinkState = *s.LinkState
	}
	if s.Trust != nil && !f.driver.ignoresTrust {
		i.Trust = s.Trust
	}
	return nil
}

func (f fakeLinks) setAdminMAC(vf *fakeVF, mac string) {
	vf.info.MAC, vf.setByPF = mac, mac != device.NoMAC
	if f.driver.resets && vf.netdev != nil {
		wait := func() {}
		f.pending = append(f.pending, wait, wait, wait, func() { vf.netdev.MAC = "0e:00:00:00:00:99" })
	}
	if f.driver.followsPF && vf.netdev != nil && mac != device.NoMAC {
		f.pending = append(f.pending, func() { vf.netdev.MAC = mac })
	}
}

// words are the values as ip link writes them.
func (f fakeLinks) words(s device.Settings) string {
	var b strings.Builder
	if s.VLAN != nil {
		fmt.Fprintf(&b, " vlan %d qos %d %s", *s.VLAN, *s.QoS, *s.VLANProto)
	}
	if s.AdminMAC != nil {
		b.WriteString(" mac " + *s.AdminMAC)
	}
	if s.MinTxRate != nil || s.MaxTxRate != nil {
		fmt.Fprintf(&b, " rate %d-%d", orZero(s.MinTxRate), orZero(s.MaxTxRate))
	}
	if s.SpoofCheck != nil {
		b.WriteString(" spoofcheck " + device.OnOff(*s.SpoofCheck))
	}
	if s.Trust != nil {
		b.WriteString(" trust " + device.OnOff(*s.Trust))
	}
	if s.LinkState != nil {
		b.WriteString(" link " + *s.LinkState)
	}
	return b.String()
}
