package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Extent is how much of its device a filesystem fills.
type Extent struct {
	// Bytes it fills, of blocks of BlockBytes.
	Bytes, BlockBytes int64
	// InodePercent is XFS's share of space for inodes, which a growth has to give.
	InodePercent uint32
	// MaxBytes is the largest size to which it can grow; 0 where the device ends first.
	MaxBytes int64
}

// Full tells that the filesystem fills a device of so many bytes.
func (e Extent) Full(bytes int64) bool { return e.full(bytes) }

// full tells that no growth is due: kinds leave less than a MiB at the end, and
// ext4 no group that would be too small to hold its own tables.
func (e Extent) full(bytes int64) bool {
	const slack = 1 << 20
	return bytes-e.Bytes < slack
}

const btrfsMagic = "_BHRfS_M"

// Measure reads the superblock of a device. While it is mounted, that may tell the
// size before the latest growth (XFS and btrfs write past the cache of a device).
//
// Source: linux/fs/ext4/ext4.h (little-endian, at byte 1024),
// linux/fs/xfs/libxfs/xfs_format.h (big-endian, at 0), btrfs's on-disk format
// (little-endian, at 64 KiB; total_bytes of the one device).
func Measure(device, kind string) (Extent, error) {
	f, err := os.Open(device)
	if err != nil {
		return Extent{}, err
	}
	defer f.Close() //nolint:errcheck // read only
	read := func(at int64, n int) ([]byte, error) {
		b := make([]byte, n)
		_, err := f.ReadAt(b, at)
		return b, err
	}
	var e Extent
	switch kind {
	case Ext4:
		b, rerr := read(1024, 1024)
		if err = rerr; err == nil && binary.LittleEndian.Uint16(b[0x38:]) == 0xef53 {
			e.BlockBytes = 1024 << binary.LittleEndian.Uint32(b[0x18:])
			blocks := int64(binary.LittleEndian.Uint32(b[0x4:]))
			if binary.LittleEndian.Uint32(b[0x60:])&0x80 != 0 { // INCOMPAT_64BIT
				blocks |= int64(binary.LittleEndian.Uint32(b[0x150:])) << 32
			}
			e.Bytes = blocks * e.BlockBytes
			e.MaxBytes = ext4Max(b, e.BlockBytes)
		}
	case XFS:
		b, rerr := read(0, 512)
		if err = rerr; err == nil && string(b[:4]) == "XFSB" {
			e.BlockBytes = int64(binary.BigEndian.Uint32(b[4:]))
			e.Bytes = int64(binary.BigEndian.Uint64(b[8:])) * e.BlockBytes //nolint:gosec // a size
			e.InodePercent = uint32(b[127])
		}
	case Btrfs:
		b, rerr := read(64<<10, 4096)
		if err = rerr; err == nil && string(b[superMagic:superMagic+8]) == btrfsMagic {
			e.BlockBytes = int64(binary.LittleEndian.Uint32(b[0x90:]))
			// total_bytes of the dev_item (0xc9), behind its devid.
			e.Bytes = int64(binary.LittleEndian.Uint64(b[0xc9+8:])) //nolint:gosec // a size
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil // too short to hold one
	}
	if err == nil && e.BlockBytes == 0 {
		err = fmt.Errorf("%w: it has no superblock of %s", ErrUnknown, kind)
	}
	if err != nil {
		return Extent{}, fmt.Errorf("measure %s: %w", device, err)
	}
	return e, nil
}

// ext4Max is the size beyond which resize2fs grows no ext4: one block group has to
// hold the descriptors of all, and without INCOMPAT_64BIT blocks have 32 bits.
//
// Source: e2fsprogs, resize/main.c ("too many block group descriptors").
func ext4Max(super []byte, blockBytes int64) int64 {
	firstData := int64(binary.LittleEndian.Uint32(super[0x14:]))
	groupBlocks := int64(binary.LittleEndian.Uint32(super[0x20:]))
	descriptor, is64 := int64(32), binary.LittleEndian.Uint32(super[0x60:])&0x80 != 0
	if size := int64(binary.LittleEndian.Uint16(super[0xfe:])); is64 && size > 0 {
		descriptor = size
	}
	blocks := (groupBlocks - firstData) * (blockBytes / descriptor) * groupBlocks
	if !is64 {
		blocks = min(blocks, 1<<32-1)
	}
	return blocks * blockBytes
}
