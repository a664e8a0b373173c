package netns

import "testing"

func TestSame(t *testing.T) {
	now := ID{Device: 4, Inode: 1001, Boot: "b"}
	for _, tt := range []struct {
		name     string
		recorded ID
		want     bool
	}{
		{"the same", now, true},
		{"a record of format 1", ID{}, true},
		{"another inode", ID{Device: 4, Inode: 1002, Boot: "b"}, false},
		{"another device", ID{Device: 5, Inode: 1001, Boot: "b"}, false},
		{"the inode of an earlier boot", ID{Device: 4, Inode: 1001, Boot: "a"}, false},
	} {
		if got := now.Same(tt.recorded); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestTheProcesssOwnNamespaceIsTheHosts(t *testing.T) {
	id, err := Identify("/proc/self/ns/net")
	if err != nil || id.Inode == 0 || id.Boot == "" {
		t.Fatal(id, err)
	}
	if host, err := id.Host(); !host || err != nil {
		t.Errorf("got %t, %v", host, err)
	}
	id.Inode++
	if host, err := id.Host(); host || err != nil {
		t.Errorf("another inode: %t, %v", host, err)
	}
}

func TestReplacedIsGone(t *testing.T) {
	err := Replaced("/run/netns/x")
	if !IsGone(err) || !IsReplaced(err) {
		t.Errorf("got %v", err)
	}
	if _, err := Identify("/does/not/exist"); !IsGone(err) || IsReplaced(err) {
		t.Errorf("got %v", err)
	}
}
