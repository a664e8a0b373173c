package link

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkRequest builds one rtnetlink message about a link.
func linkRequest(message, flags int, index int, attrs ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index = int32(index)
	return request(message, flags, ifi, attrs...)
}

// request builds one rtnetlink message. If flags have neither NLM_F_ACK nor NLM_F_DUMP, the
// answer is a single message.
func request(message, flags int, header nl.NetlinkRequestData, attrs ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(message, flags)
	req.Data = append([]nl.NetlinkRequestData{header}, attrs...)
	return req
}

// change sends a message about a link, whose only answer is an acknowledgement.
func (c *conn) change(message, flags int, index int, attrs ...nl.NetlinkRequestData) error {
	return c.acknowledged(linkRequest(message, flags|unix.NLM_F_ACK, index, attrs...))
}

func (c *conn) acknowledged(req *nl.NetlinkRequest) error { return c.exchange(req, nil) }

// dumpTries bounds the attempts to get a listing that no change interrupts.
const dumpTries = 10

// dump sends a request for a listing, and repeats it if a change interrupted the listing.
// It calls begin before each attempt, and each for every message of the given type.
func (c *conn) dump(req *nl.NetlinkRequest, typ uint16, begin func(), each func(payload []byte) error) error {
	err := errInterrupted
	for try := 0; try < dumpTries && errors.Is(err, errInterrupted); try++ {
		begin()
		err = c.exchange(req, func(got uint16, payload []byte) error {
			if got != typ {
				return nil
			}
			return each(payload)
		})
	}
	return err
}
