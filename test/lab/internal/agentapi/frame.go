// Package agentapi is the protocol between the host and the small agent in
// each guest: HTTP over a loopback forward, with a password. The agent
// executes commands, receives files, supervises the node's services and
// opens connections from within the guest.
package agentapi

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Header fields of a request.
const (
	HeaderToken   = "X-Lab-Token"
	HeaderCommand = "X-Lab-Command" // base64: a command may hold any byte
)

// Stream is the kind of content of a frame of an exec reply.
type Stream byte

const (
	Stdout Stream = 1
	Stderr Stream = 2
	Exit   Stream = 3 // payload: exit code, 4 bytes; the last frame
)

// maxFrame bounds the memory that a damaged length field makes the reader allocate.
const maxFrame = 1 << 20

// WriteFrame writes one frame: stream, length, payload.
func WriteFrame(w io.Writer, s Stream, p []byte) error {
	b := make([]byte, 5, 5+len(p))
	b[0] = byte(s)
	binary.BigEndian.PutUint32(b[1:], uint32(len(p)))
	_, err := w.Write(append(b, p...))
	return err
}

// WriteExit writes the last frame.
func WriteExit(w io.Writer, code int) error {
	return WriteFrame(w, Exit, binary.BigEndian.AppendUint32(nil, uint32(int32(code))))
}

// ReadFrames copies the frames' payloads to their streams until the exit
// frame, and returns its code. A reply that ends before is an error: the
// guest died, or the connection did.
func ReadFrames(r io.Reader, stdout, stderr io.Writer) (int, error) {
	var head [5]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return -1, fmt.Errorf("the node's reply ends before the exit code: %w", err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n > maxFrame {
			return -1, fmt.Errorf("frame of %d bytes in the node's reply", n)
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return -1, fmt.Errorf("the node's reply ends within a frame: %w", err)
		}
		var err error
		switch Stream(head[0]) {
		case Stdout:
			_, err = stdout.Write(p)
		case Stderr:
			_, err = stderr.Write(p)
		case Exit:
			if n != 4 {
				return -1, fmt.Errorf("exit frame of %d bytes", n)
			}
			return int(int32(binary.BigEndian.Uint32(p))), nil
		default:
			return -1, fmt.Errorf("unknown stream %d in the node's reply", head[0])
		}
		if err != nil {
			return -1, err
		}
	}
}
