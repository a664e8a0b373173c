package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/pci"
)

// Uevents is the source of the kernel's messages about devices: functions that appear and
// disappear, drivers that are bound and unbound, netdevs and RDMA devices that are added,
// renamed or removed.
type Uevents struct {
	Log *slog.Logger
}

// kernelGroup is the multicast group of the kernel's own messages; 2 carries
// those that udev has processed.
const kernelGroup = 1

// Open implements Source.
func (u Uevents) Open(ctx context.Context) (<-chan Event, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open the uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("subscribe to uevents: %w", err)
	}
	// Hundreds of VFs appear in one burst. Without the privilege the default size stays, and
	// ENOBUFS reports an overflow.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	file := os.NewFile(uintptr(fd), "uevents") // non-blocking, so that Close ends a wait
	context.AfterFunc(ctx, func() { file.Close() })
	events := make(chan Event)
	go func() {
		defer close(events)
		defer file.Close()
		if err := receive(ctx, file, events); err != nil && ctx.Err() == nil {
			u.Log.Warn("uevents ended", "error", err)
		}
	}()
	return events, nil
}

func receive(ctx context.Context, file *os.File, events chan<- Event) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 16<<10) // the kernel's messages have at most 2 KiB and a few dozen bytes
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := conn.Read(func(fd uintptr) (done bool) {
			n, from, rerr = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
		})
		if err != nil {
			return err
		}
		var event Event
		switch {
		case errors.Is(rerr, unix.ENOBUFS):
			event.Lost = true
		case rerr != nil:
			return rerr
		default:
			// Any process with CAP_NET_ADMIN in the namespace may send; the kernel's port is 0.
			if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
				continue
			}
			var ok bool
			if event, ok = parseUevent(buf[:n]); !ok {
				continue
			}
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return nil
		}
	}
}

// parseUevent parses a message of the form "add@/devices/…\0ACTION=add\0DEVPATH=…\0…". ok
// is false if the message cannot concern a PF or VF.
func parseUevent(msg []byte) (e Event, ok bool) {
	var devpath, subsystem string
	for field := range bytes.SplitSeq(msg, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "DEVPATH":
			devpath = value
		case "SUBSYSTEM":
			subsystem = value
		case "INTERFACE":
			e.Netdev = value
		}
	}
	switch subsystem {
	case "pci", "net", "infiniband", "infiniband_verbs", "auxiliary":
	default:
		return Event{}, false
	}
	e.Function = lastFunction(devpath)
	return e, !e.Function.IsZero() || e.Netdev != ""
}

// lastFunction returns the PCI function nearest to a device:
// /devices/pci0000:00/0000:00:02.0/0000:3b:00.0/net/ens1f0 → 0000:3b:00.0.
func lastFunction(devpath string) pci.Address {
	for devpath != "" {
		i := strings.LastIndexByte(devpath, '/')
		if addr, err := pci.ParseAddress(devpath[i+1:]); err == nil {
			return addr
		}
		devpath = devpath[:max(i, 0)]
	}
	return pci.Address{}
}
