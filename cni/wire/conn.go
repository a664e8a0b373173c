package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrFrame reports data that is not a frame of this protocol.
var ErrFrame = errors.New("malformed frame")

// Conn sends and receives messages. Several goroutines may send; one receives.
type Conn struct {
	rwc  io.ReadWriteCloser
	send sync.Mutex // guards writing: a frame is never torn by another
}

// NewConn wraps a connection.
func NewConn(rwc io.ReadWriteCloser) *Conn { return &Conn{rwc: rwc} }

// Send writes one message.
func (c *Conn) Send(m Message) error {
	frame, err := Encode(m)
	if err != nil {
		return err
	}
	c.send.Lock()
	defer c.send.Unlock()
	if _, err := c.rwc.Write(frame); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

// Receive reads one message. It returns io.EOF if the other side has hung up
// between two frames.
func (c *Conn) Receive() (Message, error) { return Decode(c.rwc) }

// Close closes the connection; a Receive under way returns.
func (c *Conn) Close() error { return c.rwc.Close() }

// Encode makes a frame, in one piece: it goes out in one write.
func Encode(m Message) ([]byte, error) {
	if _, err := m.Part(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a message: %w", err)
	}
	if len(body) > MaxFrame {
		return nil, fmt.Errorf("%w: a message of %d bytes is larger than %d", ErrFrame, len(body), MaxFrame)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	return append(frame, body...), nil
}

// Decode reads one frame.
func Decode(r io.Reader) (Message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Message{}, err // io.EOF: hung up in order
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxFrame {
		return Message{}, fmt.Errorf("%w: announces %d bytes, more than %d", ErrFrame, size, MaxFrame)
	}
	// Grown as bytes arrive: announcing a length reserves no memory.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return Message{}, err
	}
	if len(body) < int(size) {
		return Message{}, io.ErrUnexpectedEOF
	}
	var m Message
	if err := json.Unmarshal(body, &m); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if _, err := m.Part(); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return m, nil
}
