package profile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

var pf1 = pci.MustParseAddress("0000:5e:00.0")

func noModules(_ context.Context, module string) error {
	return fmt.Errorf("no module %s here", module)
}

func applier(k *kernel) *Applier {
	return &Applier{FS: k.FS(), Links: k, Custody: nobody, LoadModule: noModules, Wait: time.Minute}
}

// labNode has two igb NICs without VFs.
func labNode(t testing.TB) *kernel {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 0).PF)
	k.AddPF(igb(pf1, "ens2f0", 0).PF)
	return k
}

func converge(t *testing.T, k *kernel, a *Applier, profiles []config.Profile) []Status {
	t.Helper()
	return a.Converge(t.Context(), profiles, k.read)
}

// statusText is a status as a user would note it.
func statusText(all []Status) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%s ready %t on %d\n", s.Profile, s.Ready, len(s.PFs))
		for _, f := range s.Failures {
			fmt.Fprintf(&b, "  %v\n", f)
		}
	}
	return b.String()
}

const labProfile = `{nics: {pfNames: [ens1f0]}, pf: {numVFs: 3, mtu: 9000}, vfGroups: [
  {vfs: 0-1, resourceName: fast, mtu: 9000, vlan: 100, vlanQoS: 3, trust: "on", spoofCheck: "off"},
  {vfs: "2", resourceName: dpdk, driver: vfio-pci}]}`

const labState = `ens1f0 mtu 9000 up true
  0 igbvf ens1f0v0 mtu 9000 vlan 100/3 trust true spoof false
  1 igbvf ens1f0v1 mtu 9000 vlan 100/3 trust true spoof false
  2 vfio-pci  mtu 0 vlan 0/0 trust false spoof true
ens2f0 mtu 1500 up false
`

func TestConverge(t *testing.T) {
	k := labNode(t)
	a := applier(k)
	profiles := build(t, labProfile, `{nics: {pfNames: [ens9*]}, pf: {numVFs: 1}}`)
	if d := cmp.Diff("a ready true on 1\nb ready true on 0\n", statusText(converge(t, k, a, profiles))); d != "" {
		t.Errorf("status: -want +got\n%s", d)
	}
	if d := cmp.Diff(labState, k.state()); d != "" {
		t.Errorf("state: -want +got\n%s", d)
	}
	// The second run changes nothing, down to the last write.
	writes, calls := k.Writes(), k.calls
	converge(t, k, a, profiles)
	if d := cmp.Diff(writes, k.Writes()); d != "" {
		t.Errorf("the second run wrote to sysfs:\n%s", d)
	}
	if d := cmp.Diff(calls, k.calls); d != "" {
		t.Errorf("the second run wrote by netlink:\n%s", d)
	}
}

// op#306: a failed step is reported with its cause, the other NICs go on, and the next run
// completes the rest.
func TestConvergeFailsAtEachStepAndRecovers(t *testing.T) {
	profiles := build(t, labProfile, `{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}, vfGroups: [{trust: "on"}]}`)
	const want = `ens1f0 mtu 9000 up true
  0 igbvf ens1f0v0 mtu 9000 vlan 100/3 trust true spoof false
  1 igbvf ens1f0v1 mtu 9000 vlan 100/3 trust true spoof false
  2 vfio-pci  mtu 0 vlan 0/0 trust false spoof true
ens2f0 mtu 1500 up true
  0 igbvf ens2f0v0 mtu 1500 vlan 0/0 trust true spoof true
`
	sound := labNode(t)
	converge(t, sound, applier(sound), profiles)
	if d := cmp.Diff(want, sound.state()); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
	inject := func(name string, begin, end func(k *kernel)) {
		t.Run(name, func(t *testing.T) {
			k := labNode(t)
			begin(k)
			a := applier(k)
			failed := 0
			for _, s := range converge(t, k, a, profiles) {
				for _, f := range s.Failures {
					failed++
					if s.Ready || !errors.Is(f, unix.EIO) || f.Step == "" || !strings.Contains(f.Cause, "(PF driver igb)") {
						t.Errorf("status of %s says ready %t, %v", s.Profile, s.Ready, f)
					}
				}
			}
			if failed != 1 {
				t.Errorf("%d failures for one fault", failed)
			}
			end(k)
			converge(t, k, a, profiles)
			if d := cmp.Diff(want, k.state()); d != "" {
				t.Errorf("after the second run: -want +got\n%s", d)
			}
		})
	}
	for _, what := range sound.calls {
		inject("netlink "+what, func(k *kernel) { k.fail[what] = unix.EIO }, func(k *kernel) { delete(k.fail, what) })
	}
	for at := 1; at <= len(sound.Writes()); at++ {
		inject(fmt.Sprintf("sysfs write %d", at), func(k *kernel) { k.FailWrite(at, unix.EIO) }, func(*kernel) {})
	}
}

// LAB.md: some calls say success and change nothing.
func TestConvergeReadsBack(t *testing.T) {
	tests := map[string]string{
		`{nics: {pfNames: [ens1f0]}, pf: {mtu: 9000}}`:                                      "ens1f0: MTU 1500 -> 9000: the driver reported success, but the MTU of ens1f0 is 1500 (PF driver igb)",
		`{nics: {pfNames: [ens1f0]}, pf: {numVFs: 1}}`:                                      "ens1f0: up: the driver reported success, but the link is still down (PF driver igb)",
		`{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}, vfGroups: [{vlan: 5}]}`:               "ens2f0: VF 0 (new): VLAN 5: the driver reported success, but the value is 0 (PF driver igb)",
		`{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}, vfGroups: [{trust: "on"}]}`:           "ens2f0: VF 0 (new): trust on: the driver reported success, but the value is off (PF driver igb)",
		`{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}, vfGroups: [{spoofCheck: "off"}]}`:     "ens2f0: VF 0 (new): spoof check off: the driver reported success, but the value is on (PF driver igb)",
		`{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}, vfGroups: [{mtu: 1400}]}`:             "ens2f0: VF 0 (new): MTU 1400: the driver reported success, but the MTU of ens2f0v0 is 1500 (PF driver igb)",
		`{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1, mtu: 9300}, vfGroups: [{mtu: 9300}]}`:  "ens2f0: MTU 1500 -> 9300: ens2f0 supports an MTU of at most 9216 (PF driver igb)",
		`{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}, vfGroups: [{driver: mlx5_vfio_pci}]}`: "ens2f0: VF 0 (new): driver mlx5_vfio_pci: load the kernel module mlx5_vfio_pci: no module mlx5_vfio_pci here (PF driver igb)",
	}
	for spec, want := range tests {
		t.Run(spec, func(t *testing.T) {
			k := labNode(t)
			k.lies = true
			l, err := k.ByName("ens2f0")
			if err != nil {
				t.Fatal(err)
			}
			k.up[l.Index] = true
			got := converge(t, k, applier(k), build(t, spec))
			if d := cmp.Diff("a ready false on 1\n  "+want+"\n", statusText(got)); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestApplyLoadsAMissingModule(t *testing.T) {
	k := labNode(t)
	a := applier(k)
	var loaded []string
	a.LoadModule = func(_ context.Context, module string) error {
		loaded = append(loaded, module)
		k.LoadDriver(module)
		return nil
	}
	s := converge(t, k, a, build(t, `{nics: {pfNames: [ens1f0]}, pf: {numVFs: 2}, vfGroups: [{driver: uio_pci_generic, allowUnsafeDMA: true}]}`))
	if d := cmp.Diff("a ready true on 1\n", statusText(s)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if d := cmp.Diff([]string{"uio_pci_generic"}, loaded); d != "" {
		t.Errorf("modules: -want +got\n%s", d)
	}
}

// security: VFIO without an IOMMU gives a pod all memory of the node. A profile binds it with
// consent only, whether or not the kernel would accept it.
func TestApplyRefusesVFIOWithoutAnIOMMU(t *testing.T) {
	for allow, want := range map[string]string{
		"": "a ready false on 1\n  ens1f0: VF 0: driver igbvf -> vfio-pci: it has no IOMMU group, so a pod could read and write all memory of the node: " +
			"enable the IOMMU (intel_iommu=on or amd_iommu=on), or accept that with allowUnsafeDMA: true in the group and VFIO's enable_unsafe_noiommu_mode (PF driver igb)\n",
		", allowUnsafeDMA: true": "a ready true on 1\n",
	} {
		k := newKernel(t)
		nic := igb(pf0, "ens1f0", 1)
		nic.VFs[0].IOMMUGroup = -1
		k.AddPF(nic.PF)
		a := applier(k)
		if d := cmp.Diff(want, statusText(converge(t, k, a, build(t, `{vfGroups: [{driver: vfio-pci`+allow+`}]}`)))); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
		if driver, _ := k.FS().Driver(nic.VFs[0].Address); (driver == "vfio-pci") != (allow != "") {
			t.Errorf("%q: bound to %s", allow, driver)
		}
	}
}

// If another number of VFs fails half-way, the VFs that were advertised are there
// again, configured, and are not taken away by each retry.
func TestConvergeGoesBackToTheVFsThatWere(t *testing.T) {
	const want = `a ready false on 1
  ens1f0: numVFs 2 -> 4: set 4 VFs on PF 0000:3b:00.0: no bus numbers or memory for the VFs: try the kernel parameter pci=realloc or pci=assign-busses: refused by the kernel (write SYS: cannot allocate memory); the former 2 VFs are made again (PF driver igb)
`
	profiles := build(t, `{pf: {numVFs: 4}, vfGroups: [{vlan: 100, trust: "on"}]}`)
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 2).PF)
	k.FailWrite(2, unix.ENOMEM)
	synctest.Test(t, func(t *testing.T) {
		a := applier(k)
		status := func() string {
			return strings.ReplaceAll(statusText(converge(t, k, a, profiles)), filepath.Join(k.Root, "sys/bus/pci/devices", pf0.String(), "sriov_numvfs"), "SYS")
		}
		for range 2 { // the second is the retry after half a minute
			if d := cmp.Diff(want, status()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			const state = `ens1f0 mtu 1500 up true
  0 igbvf ens1f0v0 mtu 1500 vlan 100/0 trust true spoof true
  1 igbvf ens1f0v1 mtu 1500 vlan 100/0 trust true spoof true
`
			if d := cmp.Diff(state, k.state()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			const writes = "0000:3b:00.0/sriov_numvfs 0\n0000:3b:00.0/sriov_numvfs 4\n0000:3b:00.0/sriov_numvfs 2"
			if d := cmp.Diff(writes, strings.Join(k.Writes(), "\n")); d != "" {
				t.Errorf("writes: -want +got\n%s", d)
			}
			time.Sleep(30 * time.Second)
		}
		time.Sleep(tryRefused)
		if d := cmp.Diff("a ready true on 1\n", status()); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	})
}

// If they cannot be made again either, the failure says so.
func TestConvergeSaysThatItCannotGoBack(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 2).PF)
	k.FailWrite(2, unix.ENOMEM)
	k.FailWrite(3, unix.EIO)
	got := statusText(converge(t, k, applier(k), build(t, `{pf: {numVFs: 4}}`)))
	if !strings.Contains(got, "numVFs 0 -> 4: ") || !strings.Contains(got, "and the former 2 VFs could not be made again: ") {
		t.Error(got)
	}
	if got := statusText(converge(t, k, applier(k), build(t, `{pf: {numVFs: 4}}`))); got != "a ready true on 1\n" {
		t.Errorf("the retry: %s", got)
	}
}

// stuckWriter is a kernel that waits for a process before it drops VFs.
type stuckWriter struct {
	*kernel
	begun   func()
	release chan struct{}
}

func (s stuckWriter) WriteAttr(path string, data []byte) error {
	s.begun()
	<-s.release
	return s.kernel.WriteAttr(path, data)
}

func TestConvergeDoesNotOutliveItsContext(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 2).PF)
	a := applier(k)
	ctx, cancel := context.WithCancel(t.Context())
	stuck := stuckWriter{k, cancel, make(chan struct{})}
	a.FS = k.FS().WithWriter(stuck)
	begin := time.Now()
	got := a.Converge(ctx, build(t, `{pf: {numVFs: 3}}`), k.read)
	if took := time.Since(begin); took > 30*time.Second || got[0].Ready {
		t.Errorf("%v after %v", statusText(got), took)
	}
	close(stuck.release)
	for deadline := time.Now().Add(10 * time.Second); len(k.Writes()) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // the tree must not go before the write
	}
}

// lateNode makes the netdevs of new VFs appear only when they have been looked for.
type lateFS struct {
	FS
	looks  int
	appear func()
}

func (f *lateFS) Netdevs(addr pci.Address) ([]string, error) {
	if f.looks++; f.looks == 3 {
		f.appear()
	}
	return f.FS.Netdevs(addr)
}

// op#1046: a VF's netdev comes after the VF.
func TestApplyWaitsForTheNetdev(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 1).PF)
	vf := igb(pf0, "ens1f0", 1).VFs[0]
	k.HideNetdev(vf.Address)
	a := applier(k)
	late := &lateFS{FS: k.FS(), appear: func() { k.ShowNetdev(vf.Address, "renamed0") }}
	a.FS = late
	target := VFTarget{Target: Target{Profile: "a", PF: pf0, Name: "ens1f0", Driver: "igb"}, Address: vf.Address}
	if f := a.Apply(t.Context(), []Step{knobStep(target, device.Settings{MTU: ptr(1400)})}); len(f) != 0 {
		t.Fatal(f)
	}
	if l, err := k.ByName("renamed0"); err != nil || l.MTU != 1400 {
		t.Errorf("got %+v, %v", l, err)
	}
	k.HideNetdev(vf.Address)
	late.appear, late.looks, a.Wait = func() {}, 0, time.Nanosecond
	f := a.Apply(t.Context(), []Step{knobStep(target, device.Settings{MTU: ptr(1500)})})
	if len(f) != 1 || !strings.Contains(f[0].Cause, "VF 0000:3b:10.0 (driver igbvf) has no netdev in the host's network namespace after 1ns") {
		t.Errorf("got %v", f)
	}
}

// op#306: a change that never takes is a failure, not a loop.
func TestConvergeEndsIfNothingTakes(t *testing.T) {
	k := labNode(t)
	read := func(ctx context.Context) ([]device.PF, map[pci.Address]error, error) {
		pfs, unread, err := k.read(ctx)
		for i := range pfs {
			pfs[i].MTU = 1500 // whatever was set
		}
		return pfs, unread, err
	}
	got := applier(k).Converge(t.Context(), build(t, `{nics: {pfNames: [ens1f0]}, pf: {mtu: 9000}}`), read)
	const want = "a ready false on 1\n  ens1f0: MTU 1500 -> 9000: it succeeded, but the next plan asks for it again (PF driver igb)\n"
	if d := cmp.Diff(want, statusText(got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestConvergeStopsWithItsContext(t *testing.T) {
	k := labNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := applier(k).Converge(ctx, build(t, labProfile), k.read)
	if len(got) != 1 || got[0].Ready || !errors.Is(got[0].Failures[0], context.Canceled) || len(k.Writes()) != 0 {
		t.Errorf("got %v, writes %v", statusText(got), k.Writes())
	}
}

// op#306: what cannot be read is in the status, and hinders no other NIC.
func TestConvergeReportsWhatCannotBeRead(t *testing.T) {
	profiles := build(t, `{nics: {pfNames: [ens1f0]}, pf: {numVFs: 1}}`, `{nics: {pfNames: [ens2f0]}, pf: {numVFs: 1}}`)
	const rest = "b ready true on 1\n"
	tests := map[string]struct {
		prepare func(*kernel, *Applier) Read
		want    string
	}{
		"a PF in sysfs": {func(k *kernel, _ *Applier) Read {
			return func(ctx context.Context) ([]device.PF, map[pci.Address]error, error) {
				pfs, _, err := k.read(ctx)
				return pfs, map[pci.Address]error{pf0: unix.EIO}, err
			}
		}, "a ready false on 1\n  ens1f0: compare it with the profile: it cannot be read: input/output error\n" + rest},
		"a PF by netlink": {func(k *kernel, a *Applier) Read {
			a.Links = deafLinks{k, k.index("ens1f0")}
			return k.read
		}, "a ready false on 1\n  ens1f0: compare it with the profile: it cannot be read: input/output error\n" + rest},
		"the node": {func(*kernel, *Applier) Read {
			return func(context.Context) ([]device.PF, map[pci.Address]error, error) { return nil, nil, unix.EIO }
		}, "a ready false on 0\n  read the NICs: input/output error\nb ready false on 0\n  read the NICs: input/output error\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k := labNode(t)
			a := applier(k)
			read := tt.prepare(k, a)
			if d := cmp.Diff(tt.want, statusText(a.Converge(t.Context(), profiles, read))); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// deafLinks cannot read one link.
type deafLinks struct {
	*kernel
	index int
}

func (l deafLinks) ByIndex(index int) (link.Link, error) {
	if index == l.index {
		return link.Link{}, unix.EIO
	}
	return l.kernel.ByIndex(index)
}
