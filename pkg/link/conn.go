package link

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/quote"
)

// conn is one rtnetlink socket. It replaces the library's, whose buffer has 64 KiB: a link
// with 496 altnames needs more. A conn reads messages of up to maxMessage.
type conn struct {
	file *os.File // non-blocking: the runtime's poller waits, so that time-outs and Close work
	raw  syscall.RawConn
	port uint32 // the kernel's number for the socket

	mu  sync.Mutex // guards seq and buf; held for a whole exchange
	seq uint32
	buf []byte
}

// Sizes of receive buffers in bytes. With a larger buffer, a dump has larger and fewer
// messages, up to the kernel's limit of 32 KiB. A single message can be larger than any of
// these, up to maxMessage.
const (
	plainBuffer = 8 << 10
	dumpBuffer  = 32 << 10
	keepBuffer  = 64 << 10 // a larger buffer is not kept for the next exchange
	maxMessage  = 8 << 20
)

// requestTimeout keeps a lost answer from blocking a pod's sandbox for ever. The kernel
// never needs that long: rtnetlink answers within the same call.
const requestTimeout = 30 * time.Second

// errInterrupted means that links, addresses or routes changed during a dump. The dump may
// be incomplete.
var errInterrupted = errors.New("changed while it was being read")

// dial opens a socket in the namespace of the calling thread, and joins groups
// (RTNLGRP_…, up to 32).
func dial(groups ...uint) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	c := &conn{file: os.NewFile(uintptr(fd), "rtnetlink")}
	if err := c.setUp(fd, groups); err != nil {
		c.close()
		return nil, fmt.Errorf("set up socket: %w", err)
	}
	return c, nil
}

func (c *conn) setUp(fd int, groups []uint) error {
	address := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		address.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, address); err != nil {
		return err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	c.port = name.(*unix.SockaddrNetlink).Pid
	// Ask for the kernel's error message, and for no copy of the request. If the kernel
	// has neither option, errors are only less clear.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	c.raw, err = c.file.SyscallConn()
	return err
}

// close closes the socket, and wakes the goroutines that wait for it.
func (c *conn) close() { c.file.Close() }

// exchange sends a request and calls each for every message of the answer. Each must not
// keep the payload. After an error of each, the other messages are read and dropped.
func (c *conn) exchange(req *nl.NetlinkRequest, each func(typ uint16, payload []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	req.Seq = c.seq
	c.makeRoom(req.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP)
	err := c.control(func(fd int) error {
		return unix.Sendto(fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	a := answer{seq: c.seq, port: c.port, each: each}
	for !a.complete {
		datagram, err := c.receive(requestTimeout)
		if err != nil {
			return fmt.Errorf("receive answer: %w", err)
		}
		a.read(datagram)
	}
	return a.err
}

func (c *conn) makeRoom(dump bool) {
	size := plainBuffer
	if dump {
		size = dumpBuffer
	}
	if len(c.buf) < size || len(c.buf) > keepBuffer {
		c.buf = make([]byte, size)
	}
}

// receive returns the next datagram from the kernel, which is valid until the next call. It
// waits until the timeout; 0 means no timeout. Only one goroutine at a time may receive.
func (c *conn) receive(timeout time.Duration) ([]byte, error) {
	datagram, err := c.receiveNow()
	if !errors.Is(err, unix.EAGAIN) {
		return datagram, err
	}
	if timeout > 0 { // setting a deadline is slower than reading an answer that is there already
		if err := c.file.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return nil, err
		}
		defer c.file.SetReadDeadline(time.Time{})
	}
	waitErr := c.raw.Read(func(fd uintptr) bool {
		datagram, err = c.read(int(fd))
		return !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		return nil, waitErr
	}
	return datagram, err
}

// await waits until there is a message or an error to receive, and leaves it there.
// It polls, because even a peek takes the socket's error: the kernel reports only once
// that it has dropped messages (ENOBUFS).
func (c *conn) await() error {
	return c.raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n != 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}

// receiveNow does not wait. It returns EAGAIN if there is no message.
func (c *conn) receiveNow() (datagram []byte, err error) {
	err = c.control(func(fd int) error {
		datagram, err = c.read(fd)
		return err
	})
	return datagram, err
}

// read asks for the size first, because a message that is larger than the buffer would be
// lost.
func (c *conn) read(fd int) ([]byte, error) {
	for {
		size, _, err := unix.Recvfrom(fd, nil, unix.MSG_PEEK|unix.MSG_TRUNC)
		if err != nil {
			return nil, err
		}
		if size > maxMessage {
			_, _, _ = unix.Recvfrom(fd, nil, 0) // drops it
			return nil, fmt.Errorf("message of %d bytes: %w", size, unix.EMSGSIZE)
		}
		if size > len(c.buf) {
			c.buf = make([]byte, size)
		}
		n, from, err := unix.Recvfrom(fd, c.buf, 0)
		if err != nil {
			return nil, err
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == nl.PidKernel {
			return c.buf[:n], nil
		}
	}
}

func (c *conn) control(fn func(fd int) error) error {
	var err error
	if controlErr := c.raw.Control(func(fd uintptr) { err = fn(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// answer collects the messages that answer one request.
type answer struct {
	seq, port   uint32
	each        func(typ uint16, payload []byte) error
	interrupted bool
	complete    bool
	err         error
}

func (a *answer) read(datagram []byte) {
	for m := messagesOf(datagram); m.next(); {
		// Answers to an earlier request, whose caller gave up, are skipped.
		if m.header.Seq == a.seq && m.header.Pid == a.port && !a.complete {
			a.message(m.header, m.payload)
		}
	}
}

func (a *answer) message(header unix.NlMsghdr, payload []byte) {
	a.interrupted = a.interrupted || header.Flags&unix.NLM_F_DUMP_INTR != 0
	switch header.Type {
	case unix.NLMSG_DONE, unix.NLMSG_ERROR:
		a.complete = true
		a.err = errors.Join(a.err, kernelError(header, payload))
		if a.err == nil && a.interrupted {
			a.err = errInterrupted
		}
	default:
		if a.err == nil && a.each != nil {
			a.err = a.each(header.Type, payload)
		}
		a.complete = header.Flags&unix.NLM_F_MULTI == 0
	}
}

// kernelError reads the errno of an acknowledgement or of a dump's end. A dump can end
// early with an errno, because a link does not fit into a message.
func kernelError(header unix.NlMsghdr, payload []byte) error {
	if len(payload) < 4 {
		return nil // before kernel 4.15 a dump's end has no errno
	}
	errno := int32(native.Uint32(payload))
	if errno == 0 {
		return nil
	}
	err := error(unix.Errno(-errno))
	rest := payload[4:]
	if header.Type == unix.NLMSG_ERROR && len(rest) >= unix.SizeofNlMsghdr { // the request, or its header
		skip := unix.SizeofNlMsghdr
		if header.Flags&unix.NLM_F_CAPPED == 0 {
			skip = aligned(int(native.Uint32(rest)))
		}
		rest = rest[min(skip, len(rest)):]
	}
	if header.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	for a := attributesOf(rest); a.next(); {
		if a.typ == nl.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%w: %s", err, quote.Message(errors.New(cString(a.value))))
		}
	}
	return err
}
