package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// vfJob is a job on a VF that is there.
type vfJob struct {
	*job
	now   device.VF
	was   ledger.VFState // before Bind
	asked ledger.VFState
}

// vfSteps lists what is done to a VF. The knobs at the PF come before the move, in
// the order that the least drivers stumble over; what the pod sees comes after.
func (j *job) vfSteps() (steps, error) {
	v, err := j.vfJob()
	if errors.Is(err, fs.ErrNotExist) {
		// A VF that is gone took its state with it; the addresses remain.
		gone := func(context.Context) error { return fmt.Errorf("VF %s is gone: %w", j.att.Device, err) }
		return steps{{name: "find the VF", do: gone}, j.ipamStep()}, nil
	}
	if err != nil {
		return nil, err
	}
	if j.att.Kind == KindVFIO {
		return v.userspaceSteps(), nil
	}
	list := steps{
		{"take the VF down", v.takeDown, v.restoreNetdev},
		{"set the VF's MTU", v.setMTU, v.restoreMTU},
	}
	list = append(list, v.knobSteps(step{"set the VF's MAC", v.setMAC, v.restoreMAC})...)
	return append(list,
		step{"move the VF into the pod", v.moveIn, v.moveOut},
		step{"set the interface's sysctls", v.setSysctls, nil},
		step{"bring the interface up", v.bringUp, nil},
		j.ipamStep(),
		step{"configure addresses", j.configureAddresses, nil},
	), nil
}

func (j *job) vfJob() (*vfJob, error) {
	v := &vfJob{job: j}
	if j.att.VF != nil {
		v.was = *j.att.VF
	}
	if j.att.Applied != nil {
		v.asked = *j.att.Applied
	}
	var err error
	v.now, err = j.Sysfs.VF(j.att.Device)
	return v, err
}

// userspaceSteps: the kernel has no netdev for such a VF, so all happens at the
// PF, and addresses are only reported.
func (v *vfJob) userspaceSteps() steps {
	list := v.knobSteps(step{"set the VF's MAC", v.setAdminMAC, v.restoreAdminMAC})
	return append(list,
		step{"check the VF's driver", v.checkUserspace, nil},
		v.ipamStep(),
	)
}

// checkUserspace fails where the driver was changed since Prepare; it also fills
// the result, as moveIn does for a netdev.
func (v *vfJob) checkUserspace(context.Context) error {
	if !v.now.Userspace() {
		return fmt.Errorf("VF %s is bound to %q now, and was to %s", v.now.Address, v.now.Driver, v.was.Driver)
	}
	v.setResult(link.Link{Name: v.att.IfName, MAC: firstSet(v.asked.MAC, nonZero(v.was.AdminMAC))})
	return nil
}

func nonZero(mac *string) string {
	if mac == nil || *mac == zeroMAC {
		return ""
	}
	return *mac
}

// takeDown: not every driver takes a MAC or MTU while the netdev is up.
func (v *vfJob) takeDown(context.Context) error {
	l, err := v.hostNetdev()
	if err != nil || !l.Up {
		return err
	}
	return v.host.SetDown(l.Index)
}

// restoreNetdev compares what a pod can change of an interface, whatever was asked
// for: the next pod would have it.
func (v *vfJob) restoreNetdev(context.Context) error {
	l, err := v.hostNetdev()
	if err != nil {
		return ignoreNoNetdev(err)
	}
	return errors.Join(v.restoreAltNames(l), v.restoreListening(l), v.restoreAdminState(l))
}

func (v *vfJob) restoreAdminState(l link.Link) error {
	if v.was.Up == nil || l.Up == *v.was.Up {
		return nil
	}
	if *v.was.Up {
		return v.host.SetUp(l.Index)
	}
	return v.host.SetDown(l.Index)
}

// restoreListening: what a pod had its VF listen to, the next pod would hear. It
// comes before the netdev is up again, when drivers tell the NIC.
func (v *vfJob) restoreListening(l link.Link) error {
	if v.was.Promisc == nil || v.was.AllMulti == nil || l.Promisc == *v.was.Promisc && l.AllMulti == *v.was.AllMulti {
		return nil
	}
	return v.host.SetListening(l.Index, *v.was.Promisc, *v.was.AllMulti)
}

func (v *vfJob) setMTU(context.Context) error {
	if v.asked.MTU == nil {
		return nil
	}
	return v.writeMTU(*v.asked.MTU)
}

func (v *vfJob) restoreMTU(context.Context) error {
	if v.was.MTU == nil {
		return nil
	}
	return ignoreNoNetdev(v.writeMTU(*v.was.MTU))
}

func (v *vfJob) writeMTU(mtu int) error {
	l, err := v.hostNetdev()
	if err != nil || l.MTU == mtu {
		return err
	}
	if err := v.host.SetMTU(l.Index, mtu); err != nil {
		return v.refused(err)
	}
	if l, err = v.host.ByIndex(l.Index); err != nil {
		return err
	}
	if l.MTU != mtu {
		return fmt.Errorf("driver %s took MTU %d for VF %s, but it is %d", v.now.Driver, mtu, v.now.Address, l.MTU)
	}
	return nil
}
