package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// This file checks the pages of a bbolt file before bbolt maps it into memory. bbolt trusts
// every number in its pages. Some wrong ones end in a panic, which could be recovered. But a
// branch that is below itself is a loop without end. A free list of 2^40 pages is allocated,
// which ends the process. A page that is both in use and free is written over much later.
// bbolt's own Check runs in a goroutine in which nobody recovers.

// The format of bbolt's pages (version 2), in the byte order of the machine.
const (
	pageHeader   = 16 // id, flags, count, overflow
	element      = 16 // of a branch or leaf page
	bucketHeader = 16 // root page, sequence
	metaBytes    = 64 // of a meta page, after its header, with the checksum
	boltMagic    = 0xED0CDAED
	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketLeaf   = 0x01 // flag of a leaf element: a bucket
	bigFreelist  = 0xFFFF
	firstPage    = 2 // after the two meta pages
	noFreelist   = ^uint64(0)
)

var native = binary.NativeEndian

// meta is a meta page: the root of a whole file.
type meta struct {
	pageSize                   int
	root, freelist, pages, txn uint64
}

// readMeta reads a meta page. ok is false if it is not valid: the other one counts then.
func readMeta(file []byte, at int) (m meta, ok bool) {
	if at < 0 || at+pageHeader+metaBytes > len(file) {
		return m, false
	}
	b := file[at+pageHeader:][:metaBytes]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaBytes-8])
	if native.Uint32(b) != boltMagic || native.Uint64(b[metaBytes-8:]) != sum.Sum64() {
		return m, false
	}
	m = meta{pageSize: int(native.Uint32(b[8:])), root: native.Uint64(b[16:]), freelist: native.Uint64(b[32:]), pages: native.Uint64(b[40:]), txn: native.Uint64(b[48:])}
	return m, m.pageSize >= 1<<10 && m.pageSize <= 1<<24
}

// findMeta returns the meta page that bbolt takes: the newer of the valid ones.
func findMeta(file []byte) (m meta, ok bool) {
	m, ok = readMeta(file, 0)
	for at := 1 << 10; !ok && at <= 1<<24; at *= 2 {
		m, ok = readMeta(file, at)
	}
	if !ok {
		return m, false
	}
	for _, at := range []int{0, m.pageSize} {
		if other, valid := readMeta(file, at); valid && other.txn > m.txn {
			m = other
		}
	}
	return m, true
}

// pages is a file under inspection.
type pages struct {
	file   []byte
	meta   meta
	seen   []bool // by page: it is used, or free
	queued []uint64
}

// checkPages returns an error if bbolt would not survive the file. If it has no valid meta
// page, that is for bbolt to say.
func checkPages(file []byte) error {
	m, ok := findMeta(file)
	if !ok {
		return nil
	}
	if m.pages > uint64(len(file)/m.pageSize) {
		return fmt.Errorf("it has %d bytes, and its %d pages need %d each", len(file), m.pages, m.pageSize)
	}
	p := pages{file: file, meta: m, seen: make([]bool, m.pages), queued: []uint64{m.root}}
	for len(p.queued) > 0 {
		last := len(p.queued) - 1
		id := p.queued[last]
		p.queued = p.queued[:last]
		if err := p.tree(id); err != nil {
			return err
		}
	}
	if m.freelist == noFreelist {
		return nil
	}
	return p.free(m.freelist)
}

// take returns a page with its overflow, and marks it as seen.
func (p *pages) take(id uint64) ([]byte, error) {
	if id < firstPage || id >= p.meta.pages {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	size := uint64(p.meta.pageSize)
	header := p.file[id*size:]
	overflow := uint64(native.Uint32(header[12:]))
	if native.Uint64(header) != id || overflow >= p.meta.pages-id {
		return nil, fmt.Errorf("page %d has the header of another one", id)
	}
	for i := id; i <= id+overflow; i++ {
		if err := p.mark(i); err != nil {
			return nil, err
		}
	}
	return p.file[id*size : (id+overflow+1)*size], nil
}

func (p *pages) mark(id uint64) error {
	if id < firstPage || id >= p.meta.pages {
		return fmt.Errorf("page %d does not exist", id)
	}
	if p.seen[id] {
		return fmt.Errorf("page %d is used twice", id)
	}
	p.seen[id] = true
	return nil
}

// tree checks a page of a bucket, and queues those below it.
func (p *pages) tree(id uint64) error {
	page, err := p.take(id)
	if err != nil {
		return err
	}
	switch native.Uint16(page[8:]) {
	case branchPage:
		err = p.branch(page)
	case leafPage:
		err = p.leaf(page, true)
	default:
		err = fmt.Errorf("its type is %#x", native.Uint16(page[8:]))
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (p *pages) branch(page []byte) error {
	count := int(native.Uint16(page[10:]))
	if count == 0 {
		return fmt.Errorf("it is a branch without pages")
	}
	var last []byte
	for i := range count {
		at := pageHeader + i*element
		if at+element > len(page) {
			return fmt.Errorf("it has no room for %d elements", count)
		}
		key, err := part(page, at, native.Uint32(page[at:]), native.Uint32(page[at+4:]))
		if err != nil {
			return err
		}
		if last, err = following(last, key); err != nil {
			return err
		}
		p.queued = append(p.queued, native.Uint64(page[at+8:]))
	}
	return nil
}

// leaf checks a page of records and buckets. mayNest is false for a page within a record.
func (p *pages) leaf(page []byte, mayNest bool) error {
	count := int(native.Uint16(page[10:]))
	var last []byte
	for i := range count {
		at := pageHeader + i*element
		if at+element > len(page) {
			return fmt.Errorf("it has no room for %d elements", count)
		}
		flags, pos, keySize, size := native.Uint32(page[at:]), native.Uint32(page[at+4:]), native.Uint32(page[at+8:]), native.Uint32(page[at+12:])
		key, err := part(page, at, pos, keySize)
		if err != nil {
			return err
		}
		value, err := part(page, at+int(pos), keySize, size)
		if err != nil {
			return err
		}
		if last, err = following(last, key); err != nil {
			return err
		}
		if flags&bucketLeaf != 0 {
			if err := p.bucket(value, mayNest); err != nil {
				return fmt.Errorf("bucket %q: %w", key, err)
			}
		}
	}
	return nil
}

// bucket checks a bucket: it has a page of its own, or is small and lies in its record.
func (p *pages) bucket(value []byte, mayNest bool) error {
	if !mayNest || len(value) < bucketHeader {
		return fmt.Errorf("its record has %d bytes", len(value))
	}
	if root := native.Uint64(value); root != 0 {
		p.queued = append(p.queued, root)
		return nil
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || native.Uint16(inline[8:]) != leafPage {
		return fmt.Errorf("its page is damaged")
	}
	return p.leaf(inline, false)
}

// part returns the bytes of a key or a value, which lie at an offset from an element.
func part(page []byte, from int, offset, size uint32) ([]byte, error) {
	start := uint64(from) + uint64(offset)
	if end := start + uint64(size); end <= uint64(len(page)) {
		return page[start:end], nil
	}
	return nil, fmt.Errorf("a record ends beyond the page")
}

// following returns a key that is greater than the one before.
func following(last, key []byte) ([]byte, error) {
	if len(key) == 0 || last != nil && bytes.Compare(last, key) >= 0 {
		return nil, fmt.Errorf("key %.40q is not in order", key)
	}
	return key, nil
}

// free checks the list of free pages. None of them is in use.
func (p *pages) free(id uint64) error {
	page, err := p.take(id)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	count, list := uint64(native.Uint16(page[10:])), page[pageHeader:]
	if count == bigFreelist {
		count, list = native.Uint64(list), list[8:]
	}
	if native.Uint16(page[8:]) != freelistPage || count > uint64(len(list)/8) {
		return fmt.Errorf("free list: page %d is no list of %d pages", id, count)
	}
	for i := range count {
		if err := p.mark(native.Uint64(list[8*i:])); err != nil {
			return fmt.Errorf("free list: %w", err)
		}
	}
	return nil
}
