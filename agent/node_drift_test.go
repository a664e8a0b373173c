package agent

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// knobLinks are links whose VFs have a trust setting that can be changed by hand.
type knobLinks struct {
	upLinks
	mu    sync.Mutex
	trust map[int]bool
	reads int
}

func (l *knobLinks) VFs(int) (map[int]device.Settings, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	all := map[int]device.Settings{}
	for vf, trust := range l.trust {
		all[vf] = device.Settings{Trust: &trust}
	}
	return all, nil
}

func (l *knobLinks) SetVF(_, vf int, s device.Settings) error {
	l.set(vf, *s.Trust)
	return nil
}

func (l *knobLinks) set(vf int, trust bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trust[vf] = trust
}

func (l *knobLinks) state() (trust bool, reads int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trust[0], l.reads
}

// devices B13: a knob that was changed by hand is set again within seconds, not at the next
// review. A burst of events costs one reading.
func TestAKnobThatIsChangedByHandIsSetAgain(t *testing.T) {
	tree := sysfstest.New(t)
	p := pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"))
	p.TotalVFs = 1
	tree.AddPF(p)
	synctest.Test(t, func(t *testing.T) {
		n := testNode(t, tree.Root)
		links := &knobLinks{trust: map[int]bool{0: false}}
		n.applier.FS, n.applier.Links = tree.FS(), links
		spec := strings.NewReplacer("numVFs: 4", "numVFs: 1", `vfs: "0-3",`, `trust: "off",`).Replace(goodProfile)
		n.declared.objects.(*api).set("fairlead-profiles", map[string]string{"a.yaml": spec})
		during(t, n.run)
		events := make(chan link.Event)
		during(t, func(ctx context.Context) error {
			return n.keepKnobs(ctx, func(context.Context) (<-chan link.Event, error) { return events, nil })
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		_, before := links.state()
		index := n.inv.Snapshot().PFs[0].Ifindex
		for range 10 { // pods start and stop
			events <- link.Event{Link: link.Link{Index: index}}
			events <- link.Event{Link: link.Link{Index: index + 1000}}
		}
		time.Sleep(2 * knobsSettle)
		if _, reads := links.state(); reads != before+1 {
			t.Errorf("%d readings for a burst of events, want 1", reads-before)
		}
		links.set(0, true)
		events <- link.Event{Link: link.Link{Index: index}}
		time.Sleep(2 * knobsSettle)
		synctest.Wait()
		if trust, _ := links.state(); trust {
			t.Error("the knob is still as it was set by hand")
		}
	})
}
