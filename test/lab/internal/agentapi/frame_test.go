package agentapi

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFramesKeepStreamsApart(t *testing.T) {
	var wire, stdout, stderr bytes.Buffer
	for _, f := range []struct {
		s    Stream
		text string
	}{{Stdout, "one "}, {Stderr, "oops"}, {Stdout, "two"}} {
		if err := WriteFrame(&wire, f.s, []byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteExit(&wire, 137); err != nil {
		t.Fatal(err)
	}
	code, err := ReadFrames(&wire, &stdout, &stderr)
	if err != nil || code != 137 || stdout.String() != "one two" || stderr.String() != "oops" {
		t.Errorf("code %d, err %v, stdout %q, stderr %q", code, err, stdout.String(), stderr.String())
	}
}

func TestReadFramesWithoutExit(t *testing.T) {
	var wire bytes.Buffer
	if err := WriteFrame(&wire, Stdout, []byte("half")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFrames(&wire, io.Discard, io.Discard); !errors.Is(err, io.EOF) {
		t.Errorf("a reply without exit frame: %v, want EOF", err)
	}
}

func TestReadFramesRefusesHugeFrame(t *testing.T) {
	wire := strings.NewReader("\x01\xff\xff\xff\xff")
	if _, err := ReadFrames(wire, io.Discard, io.Discard); err == nil {
		t.Error("no error for a frame of 4 GiB")
	}
}
