package attach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStepsAreUndoneInReverseWhereverTheyFail(t *testing.T) {
	want := []string{
		"do 0, undo 0",
		"do 0, do 1, undo 1, undo 0",
		"do 0, do 1, do 2, undo 2, undo 1, undo 0",
		"do 0, do 1, do 2",
	}
	for k, want := range want {
		t.Run(fmt.Sprintf("step %d fails", k), func(t *testing.T) {
			var log []string
			list := logging(&log, k, -1)
			err := list.run(context.Background())
			if (k < len(list)) != errors.Is(err, errInjected) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(want, strings.Join(log, ", ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnUndoThatFailsDoesNotStopTheOthersAndIsReported(t *testing.T) {
	for k := range 3 {
		var log []string
		err := logging(&log, 2, k).run(context.Background())
		if diff := cmp.Diff("do 0, do 1, do 2, undo 2, undo 1, undo 0", strings.Join(log, ", ")); diff != "" {
			t.Error(diff)
		}
		if want := fmt.Sprintf("undo step %d: undo refused", k); err == nil || !errors.Is(err, errInjected) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want the failure and %q", err, want)
		}
	}
}

// logging makes three steps, of which one fails to be done and one to be undone.
func logging(log *[]string, failDo, failUndo int) steps {
	var list steps
	for i := range 3 {
		list = append(list, step{
			name: fmt.Sprintf("step %d", i),
			do: func(context.Context) error {
				*log = append(*log, fmt.Sprintf("do %d", i))
				if i == failDo {
					return errInjected
				}
				return nil
			},
			undo: func(context.Context) error {
				*log = append(*log, fmt.Sprintf("undo %d", i))
				if i == failUndo {
					return errors.New("undo refused")
				}
				return nil
			},
		})
	}
	return list
}

func TestUndoGoesOnWhenTheCallHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	undone := false
	list := steps{{"step", func(context.Context) error { cancel(); return errInjected }, func(ctx context.Context) error {
		undone = ctx.Err() == nil
		return nil
	}}}
	if err := list.run(ctx); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	if !undone {
		t.Error("the undo's context has ended with the call's")
	}
}

// The frames byte by byte, as RFC 5227 and RFC 4861 have them.
func TestAnnouncements(t *testing.T) {
	mac, _ := net.ParseMAC("02:00:00:cc:00:01")
	arp := gratuitousARP(mac, net.ParseIP("10.1.0.2").To4())
	want := "ffffffffffff020000cc0001080600010800060400" + "01020000cc00010a0100020000000000000a010002"
	if got := fmt.Sprintf("%x", arp); got != want {
		t.Errorf("ARP  %s\nwant %s", got, want)
	}
	na := advertisement(mac, net.ParseIP("fd00::5"), true)
	want = "333300000001020000cc000186dd" + "6000000000203aff" + "fd000000000000000000000000000005" + "ff020000000000000000000000000001" +
		"8800xxxx20000000" + "fd000000000000000000000000000005" + "0201020000cc0001"
	got := fmt.Sprintf("%x", na)
	if got = got[:14*2+40*2+4] + "xxxx" + got[14*2+40*2+8:]; got != want {
		t.Errorf("NA   %s\nwant %s", got, want)
	}
	// A checksum is right if summing up with it gives zero.
	if sum := icmpChecksum(na[22:38], na[38:54], bytes.Clone(na[54:])); sum != 0 {
		t.Errorf("checksum off by %#x", sum)
	}
	if err := announce(1, "not a MAC", nil); err == nil {
		t.Error("an interface without a MAC announced something")
	}
}
