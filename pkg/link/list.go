package link

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// List returns all links of the namespace. An incomplete listing is an error.
func (l lookups) List() ([]Link, error) {
	exist, err := indexes(l.conn)
	if err != nil {
		return nil, wrap("list", "links", err)
	}
	var links []Link
	err = dumpLinks(l.conn, func() { links = nil }, func(payload []byte) error {
		found, err := parse(payload)
		links = append(links, found)
		return err
	})
	if err != nil {
		return nil, wrap("list", "links", err)
	}
	listed := make(map[int]bool, len(links))
	for _, found := range links {
		listed[found.Index] = true
	}
	return links, wrap("list", "links", checkListed(l.conn, listed, exist))
}

func dumpLinks(c *conn, begin func(), each func(payload []byte) error) error {
	req := linkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0, u32(unix.IFLA_EXT_MASK, skipStats))
	return c.dump(req, unix.RTM_NEWLINK, begin, each)
}

// checkListed returns an error if a link exists but is not listed.
//
// A dump ends early at a link that does not fit into a message. The kernel then sends
// NLMSG_DONE without an errno (seen with 6.18), and callers would believe that nobody uses
// the links that are left out. The mask of our requests should prevent that (skipStats),
// and this check reports it if it happens anyway.
func checkListed(c *conn, listed map[int]bool, exist []int) error {
	for _, index := range exist {
		if listed[index] {
			continue
		}
		if l, err := (lookups{c}).ByIndex(index); err == nil { // otherwise it was deleted meanwhile
			return fmt.Errorf("the kernel left out link %d (%s): %w", index, l.Name, unix.EMSGSIZE)
		}
	}
	return nil
}

// rareStats is IFLA_STATS_FILTER_BIT(IFLA_STATS_AF_SPEC). Only links with MPLS have such
// statistics.
const rareStats = 1 << 4

// indexes lists the ifindexes of all links. It asks for statistics that links do not have,
// so the messages have a few bytes and always fit.
func indexes(c *conn) ([]int, error) {
	var found []int
	req := request(unix.RTM_GETSTATS, unix.NLM_F_DUMP, statsHeader{})
	err := c.dump(req, unix.RTM_NEWSTATS, func() { found = nil }, func(payload []byte) error {
		if len(payload) < statsHeaderSize {
			return fmt.Errorf("message of %d bytes is too short for statistics", len(payload))
		}
		found = append(found, int(native.Uint32(payload[4:])))
		return nil
	})
	return found, err
}

// statsHeader is a struct if_stats_msg about all links.
type statsHeader struct{}

const statsHeaderSize = 12

func (statsHeader) Len() int { return statsHeaderSize }

func (statsHeader) Serialize() []byte {
	return native.AppendUint32(make([]byte, 8), rareStats)
}
