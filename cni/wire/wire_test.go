package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func request() Message {
	return Message{Version: Version, Request: &Request{MinVersion: MinVersion, Command: "DEL", ContainerID: "c0ffee", Netns: "/run/netns/x",
		IfName: "eth0", Args: "K8S_POD_NAME=p", Path: "/opt/cni/bin", Stdin: []byte(`{"not": json`), TimeoutMillis: 1000}}
}

func TestFramesRoundTrip(t *testing.T) {
	messages := []Message{
		request(),
		{Version: 1, Run: &Run{ID: 7, Plugin: "bridge", Path: "/a:/b", Env: []string{"CNI_COMMAND=ADD"}, Stdin: []byte{0, 255}}},
		{Version: 1, Cancel: &Cancel{ID: 7}},
		{Version: 1, Ran: &Ran{ID: 7, Stdout: []byte("out"), Stderr: []byte("err"), ExitCode: 1, Error: "killed"}},
		{Version: 1, Reply: &Reply{Stdout: []byte("{}"), ExitCode: 0}},
	}
	var stream bytes.Buffer
	for _, m := range messages {
		frame, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		stream.Write(frame)
	}
	for _, want := range messages {
		got, err := Decode(&stream)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if _, err := Decode(&stream); err != io.EOF {
		t.Errorf("at the end: got %v, want io.EOF", err)
	}
}

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestDecodeRefuses(t *testing.T) {
	tests := map[string]struct {
		in   []byte
		want error
	}{
		"nothing":         {nil, io.EOF},
		"half a length":   {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"half a body":     {frame(`{"version":1}`)[:8], io.ErrUnexpectedEOF},
		"too long":        {[]byte{0xff, 0xff, 0xff, 0xff}, ErrFrame},
		"no JSON":         {frame("GET / HTTP/1.1"), ErrFrame},
		"no part":         {frame(`{"version":1}`), ErrFrame},
		"two parts":       {frame(`{"reply":{},"cancel":{}}`), ErrFrame},
		"wrong type":      {frame(`{"reply":{"exitCode":"0"}}`), ErrFrame},
		"empty body":      {frame(""), ErrFrame},
		"bad base64 data": {frame(`{"reply":{"stdout":"%%"}}`), ErrFrame},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode(bytes.NewReader(tt.in)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	if _, err := Encode(Message{}); err == nil {
		t.Error("a message without a part was encoded")
	}
	if _, err := Encode(Message{Reply: &Reply{Stdout: make([]byte, MaxFrame)}}); !errors.Is(err, ErrFrame) {
		t.Errorf("too large: got %v, want ErrFrame", err)
	}
}

// m#1213: a shim and an agent one release apart talk to each other, and where
// they cannot, the error says what to do.
func TestVersionSkew(t *testing.T) {
	tests := []struct {
		name     string
		min, max int
		want     int
		fails    bool
	}{
		{name: "same", min: MinVersion, max: Version, want: Version},
		{name: "newer shim that still speaks ours", min: Version, max: Version + 1, want: Version},
		{name: "newer shim that dropped ours", min: Version + 1, max: Version + 2, fails: true},
		{name: "older shim below our minimum", min: 0, max: MinVersion - 1, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := request()
			m.Version, m.Request.MinVersion = tt.max, tt.min
			got, err := Negotiate(m)
			if tt.fails {
				if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "restart the agent") {
					t.Errorf("got %v, want ErrVersion with a remedy", err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
	if _, err := Negotiate(Message{Reply: &Reply{}}); err == nil {
		t.Error("a reply was taken for a request")
	}
	m, err := Decode(bytes.NewReader(frame(`{"version":2,"later":true,"request":{"minVersion":1,"command":"ADD","later":{"x":1}}}`)))
	if err != nil || m.Request.Command != "ADD" {
		t.Errorf("unknown fields: got %+v, %v", m, err)
	}
}

func TestTombstones(t *testing.T) {
	dir := Tombstones{Dir: filepath.Join(t.TempDir(), "tombstones")}
	if all, err := dir.List(); err != nil || len(all) != 0 {
		t.Fatalf("without a directory: %v, %v", all, err)
	}
	tomb := Tombstone{Version: Version, Request: *request().Request, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Reason: "no agent"}
	for range 2 { // a runtime repeats a DEL
		if err := dir.Write(tomb); err != nil {
			t.Fatal(err)
		}
	}
	other := tomb
	other.Request.ContainerID = "a"
	if err := dir.Write(other); err != nil {
		t.Fatal(err)
	}
	all, err := dir.List()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(all, []Tombstone{other, tomb}) {
		t.Errorf("got %+v", all)
	}
	for range 2 {
		if err := dir.Remove(tomb); err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := dir.List(); len(all) != 1 || all[0].Request.ContainerID != "a" {
		t.Errorf("after Remove: %+v", all)
	}
}

// m#948: a damaged file still says which sandbox is to be released.
func TestDamagedTombstone(t *testing.T) {
	dir := Tombstones{Dir: t.TempDir()}
	for name, content := range map[string]string{
		"c0ffee@eth0.json":             "",
		"d1@net1.json":                 `{"request":{"containerID":"other","ifName":"net1"}}`,
		".c0ffee@eth0.json.123.tmp":    "half-wri",
		"notes.txt":                    "",
		"..@eth0.json":                 "{}",
		"c0ffee@../../etc/passwd.json": "",
	} {
		if strings.Contains(name, "/") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := dir.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tomb := range all {
		if tomb.Damage == "" || tomb.Request.Command != "DEL" {
			t.Errorf("not marked as damaged: %+v", tomb)
		}
		got = append(got, tomb.Request.ContainerID+" "+tomb.Request.IfName)
	}
	if want := []string{"c0ffee eth0", "d1 net1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTombstoneNames(t *testing.T) {
	for _, r := range []Request{
		{ContainerID: "", IfName: "eth0"}, {ContainerID: "../x", IfName: "eth0"}, {ContainerID: "a@b", IfName: "eth0"},
		{ContainerID: strings.Repeat("a", 300), IfName: "eth0"}, {ContainerID: "a", IfName: ""}, {ContainerID: "a", IfName: "../x"},
		{ContainerID: "-a", IfName: "eth0"}, {ContainerID: "a", IfName: "sixteen-bytes-ab"},
	} {
		if err := (Tombstones{Dir: t.TempDir()}).Write(Tombstone{Request: r}); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}
