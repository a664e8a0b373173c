package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/test/fuzz"
)

// Both directions: agent and shim read each other's messages by the same code. A stream
// is read to its end or first fault, and every message of it survives another trip.
func FuzzDecode(f *testing.F) {
	var stream []byte
	for _, m := range []Message{request(), {Version: 1, Run: &Run{ID: 7, Plugin: "bridge", Path: "/a:/b", Env: []string{"CNI_COMMAND=ADD"}, Stdin: []byte{0, 255}}},
		{Version: 1, Cancel: &Cancel{ID: 7}}, {Version: 1, Ran: &Ran{ID: 7, Stdout: []byte("out"), Stderr: []byte("err"), NotFound: true, Error: "killed"}},
		{Version: 1, Reply: &Reply{Stdout: []byte("{}"), ExitCode: 1}}} {
		raw, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		stream = append(stream, raw...)
	}
	f.Add(stream)
	f.Add(frame(`{"request":{"stdin":"AA=="},"run":null}`))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 255, 255, 255, '{'})
	f.Fuzz(func(t *testing.T, in []byte) {
		var all []Message
		var err error
		fuzz.Allocates(t, len(in), func() { all, err = receiveAll(in) })
		if !errors.Is(err, io.EOF) {
			fuzz.Refused(t, err)
		}
		for _, m := range all {
			checkTrip(t, m)
		}
	})
}

// receiveAll reads a stream as either side does.
func receiveAll(in []byte) (all []Message, err error) {
	c := NewConn(struct {
		io.ReadCloser
		io.Writer
	}{io.NopCloser(bytes.NewReader(in)), nil})
	for {
		m, err := c.Receive()
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

func checkTrip(t *testing.T, m Message) {
	t.Helper()
	raw, err := Encode(m)
	if err != nil {
		t.Fatalf("decoded but not encoded: %v", err)
	}
	again, err := Decode(bytes.NewReader(raw))
	if err != nil || !reflect.DeepEqual(normal(again), normal(m)) {
		t.Fatalf("round trip: %+v, %v; want %+v", again, err, m)
	}
	version, err := Negotiate(m)
	fuzz.Refused(t, err)
	if err == nil && (version < MinVersion || version > Version) {
		t.Errorf("version %d is agreed on", version)
	}
}

// normal makes empty and absent lists equal, as JSON's omitempty does.
func normal(m Message) Message {
	for _, b := range []*[]byte{stdin(m), stdout(m), stderr(m)} {
		if b != nil && len(*b) == 0 {
			*b = nil
		}
	}
	return m
}

func stdin(m Message) *[]byte {
	switch {
	case m.Request != nil:
		return &m.Request.Stdin
	case m.Run != nil:
		return &m.Run.Stdin
	}
	return nil
}

func stdout(m Message) *[]byte {
	switch {
	case m.Ran != nil:
		return &m.Ran.Stdout
	case m.Reply != nil:
		return &m.Reply.Stdout
	}
	return nil
}

func stderr(m Message) *[]byte {
	if m.Ran != nil {
		return &m.Ran.Stderr
	}
	return nil
}

// m#948: a tombstone names the sandbox and the interface of its file's name, with any
// content. Written again it means the same.
func FuzzTombstone(f *testing.F) {
	f.Add("c0ffee@eth0.json", []byte(`{"version":1,"request":{"minVersion":1,"command":"DEL","containerID":"c0ffee","netns":"/run/netns/x","ifName":"eth0",`+
		`"args":"K8S_POD_NAME=p","path":"/opt/cni/bin","stdin":"e30=","timeoutMillis":1000},"at":"2026-01-01T00:00:00Z","reason":"no agent"}`))
	f.Add("d1@net1.json", []byte(`{"request":{"containerID":"other","ifName":"net1"}}`))
	f.Add("d1@net1.json", []byte(`{"request":{"containerID":"d1","ifName":"net1","command":"ADD"},"at":"9999-12-31T23:59:59Z"}`))
	f.Add("..@eth0.json", []byte("{}"))
	f.Add("a@.json", []byte(""))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if name == "" || len(name) > 255 || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return // no name of a file
		}
		dir := Tombstones{Dir: filepath.Join(fuzz.TempDir(t), "tombstones")}
		writeFile(t, filepath.Join(dir.Dir, name), content)
		var all []Tombstone
		fuzz.Allocates(t, len(content), func() {
			var err error
			if all, err = dir.List(); err != nil {
				t.Fatal(err)
			}
		})
		for _, tomb := range all {
			checkTombstone(t, dir, name, tomb)
		}
	})
}

func checkTombstone(t *testing.T, dir Tombstones, name string, tomb Tombstone) {
	t.Helper()
	if file, err := fileName(tomb.Request); err != nil || file != name {
		t.Fatalf("the file %q is of %q, %v", name, file, err)
	}
	if tomb.Damage != "" {
		fuzz.Refused(t, errors.New(tomb.Damage))
	} else if err := dir.Write(tomb); err != nil {
		t.Fatal(err)
	} else if again, err := dir.List(); err != nil || len(again) != 1 || !sameTombstone(again[0], tomb) {
		t.Errorf("written again: %+v, %v; want %+v", again, err, tomb)
	}
	if err := dir.Remove(tomb); err != nil {
		t.Fatal(err)
	}
	if rest, err := os.ReadDir(dir.Dir); err != nil || len(rest) > 0 {
		t.Errorf("after Remove: %v, %v", rest, err)
	}
}

func sameTombstone(a, b Tombstone) bool {
	same := a.At.Equal(b.At)
	a.At, b.At = time.Time{}, time.Time{}
	return same && reflect.DeepEqual(a, b)
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// S1, S2: the settings in effect are valid, with any content of the shim's file. Accepted
// settings are written and read as the same.
func FuzzShimConfig(f *testing.F) {
	standard, err := DefaultShimConfig().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(standard)
	f.Add([]byte(`{"socket": "relative", "tombstoneDir": "/x", "timeoutSeconds": 0}`))
	f.Add([]byte(`{"agentTimeoutSeconds": 3601}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := filepath.Join(fuzz.TempDir(t), "bin")
		writeFile(t, filepath.Join(dir, ShimConfigName), content)
		var c ShimConfig
		var err error
		fuzz.Allocates(t, len(content), func() { c, err = LoadShimConfig(dir) })
		fuzz.Refused(t, err)
		if err := c.validate(); err != nil {
			t.Fatalf("settings in effect: %v", err)
		}
		if err != nil {
			if c != DefaultShimConfig() {
				t.Errorf("with an error: %+v, want the defaults", c)
			}
			return
		}
		other := fuzz.TempDir(t)
		if _, err := c.Install(other); err != nil {
			t.Fatal(err)
		}
		if again, err := LoadShimConfig(other); err != nil || again != c {
			t.Errorf("installed: %+v, %v; want %+v", again, err, c)
		}
	})
}

// S1: no network's config passes for Fairlead's own unless both keys are spelled exactly.
func FuzzCheckConf(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead"}`))
	f.Add([]byte(`{"name":"net","type":"macvlan","ipam":{"type":"fairlead","name":"fairlead"}}`))
	f.Add([]byte(`{"Name":"fairlead","TYPE":"fairlead"}`))
	f.Fuzz(func(t *testing.T, stdin []byte) {
		var err error
		fuzz.Allocates(t, len(stdin), func() { err = CheckConf(stdin) })
		fuzz.Refused(t, err)
		if err == nil && (!bytes.Contains(stdin, []byte(`"name"`)) && !bytes.Contains(stdin, []byte(`\u`)) || !bytes.Contains(stdin, []byte(`"fairlead"`))) {
			t.Errorf("%q passes", stdin)
		}
	})
}
