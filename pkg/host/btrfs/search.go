package btrfs

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// search is one BTRFS_IOC_TREE_SEARCH_V2: a range of keys in one tree, and a
// buffer that the kernel fills with as many items as fit.
type search struct {
	key searchKey
	buf []byte // searchArgsV2, then the items; aligned for both
}

const (
	searchArgsSize   = int(unsafe.Sizeof(searchArgsV2{}))
	searchHeaderSize = int(unsafe.Sizeof(searchHeader{}))
)

// newSearch looks for all items of one object and type, whatever their offset.
func newSearch(tree, object uint64, keyType uint32, bufSize int) *search {
	words := make([]uint64, (searchArgsSize+bufSize)/8)
	return &search{
		key: searchKey{
			treeID:      tree,
			minObjectID: object, maxObjectID: object,
			minType: keyType, maxType: keyType,
			maxOffset:  math.MaxUint64,
			maxTransID: math.MaxUint64,
		},
		buf: unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words)),
	}
}

// each calls f for every item in the order of their keys. ENOENT: no such tree.
func (s *search) each(fd int, f func(searchHeader, []byte)) error {
	for {
		items, err := s.run(fd, math.MaxUint32)
		if err != nil {
			return err
		}
		rest := s.buf[searchArgsSize:]
		var last searchHeader
		for range items {
			last = header(rest)
			f(last, rest[searchHeaderSize:searchHeaderSize+int(last.length)])
			rest = rest[searchHeaderSize+int(last.length):]
		}
		if items == 0 || last.offset == s.key.maxOffset {
			return nil
		}
		s.key.minOffset = last.offset + 1
	}
}

// one returns the item at exactly that offset, nil when there is none. The
// result is valid until the next call. ENOENT: no such tree.
func (s *search) one(fd int, offset uint64) ([]byte, error) {
	s.key.minOffset, s.key.maxOffset = offset, offset
	items, err := s.run(fd, 1)
	if err != nil || items == 0 {
		return nil, err
	}
	rest := s.buf[searchArgsSize:]
	return rest[searchHeaderSize : searchHeaderSize+int(header(rest).length)], nil
}

func (s *search) run(fd int, limit uint32) (items uint32, err error) {
	args := (*searchArgsV2)(unsafe.Pointer(&s.buf[0]))
	args.key = s.key
	args.key.items = limit
	args.bufSize = uint64(len(s.buf) - searchArgsSize)
	err = ioctl(fd, iocTreeSearchV2, &s.buf[0])
	return args.key.items, err
}

func header(b []byte) searchHeader {
	le := binary.NativeEndian // ioctl headers are in the order of the machine, items in little-endian
	return searchHeader{
		transID:  le.Uint64(b),
		objectID: le.Uint64(b[8:]),
		offset:   le.Uint64(b[16:]),
		keyType:  le.Uint32(b[24:]),
		length:   le.Uint32(b[28:]),
	}
}
