package ledger_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// A sandbox is on record before anything is changed for it, and its device is nobody
// else's until the record says that it was given back.
func Example() {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	l, err := ledger.Open(filepath.Join(dir, "ledger.db"))
	if err != nil {
		panic(err)
	}
	defer l.Close()

	vf := ledger.Member{Type: "sriov", Plugin: "sriov", Device: pci.MustParseAddress("0000:3b:02.1")}
	sandbox := func(id string) ledger.Sandbox {
		return ledger.Sandbox{ID: id, Pod: ledger.PodRef{Namespace: "default", Name: "pod-" + id}, Attachments: []ledger.Attachment{
			{Network: "default/fast", IfName: "net1", Phase: ledger.Intent, Members: []ledger.Member{vf}},
		}}
	}
	a := sandbox("a")
	fmt.Println(l.PutSandbox(a))
	held := new(ledger.HeldError)
	if errors.As(l.PutSandbox(sandbox("b")), &held) {
		fmt.Println("b waits for", held.Pod)
	}
	a.Releasing = true
	a.Attachments[0].Members[0].DeviceReturned = true
	fmt.Println(l.PutSandbox(a))
	fmt.Println(l.PutSandbox(sandbox("b")))
	for _, e := range l.Entries() {
		fmt.Println(e.ID, e.Releasing, len(e.Holdings))
	}
	// Output:
	// <nil>
	// b waits for default/pod-a
	// <nil>
	// <nil>
	// a true 0
	// b false 1
}
