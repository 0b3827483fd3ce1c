package filesystem

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// Where the superblock of btrfs has what belongs to its identity.
//
// Source: linux/btrfs_tree.h, struct btrfs_super_block.
const (
	superBytes       = 4096
	superChecksummed = 0x20 // what lies before is the checksum
	superUUID        = 0x20 // fsid
	superFlags       = 0x38
	superMagic       = 0x40
	superLog         = 0x60 // log_root
	superIncompat    = 0xbc
	superChecksum    = 0xc4  // csum_type
	superMetadata    = 0x23b // metadata_uuid
	uuidBytes        = 16

	incompatMetadata = 1 << 10 // the tree's blocks carry metadata_uuid
	flagChanging     = 1<<35 | 1<<36
	checksumCRC32C   = 0
)

// supers are where the superblock and its copies lie.
func supers() []int64 { return []int64{64 << 10, 64 << 20, 256 << 30} }

// NewIdentity gives a copied filesystem, mounted nowhere, an identity of its own
// where the kernel tells filesystems apart by it: two btrfs of one identity are
// one to it, and would be mixed up. ext4 needs none, XFS is mounted with nouuid.
//
// Nothing but the superblock is changed, so that what a power cut has left in a
// log is still replayed at the next mount; btrfstune -m writes over the log (seen
// with btrfs-progs 6.2), and the filesystem cannot be mounted any more.
func NewIdentity(ctx context.Context, path, kind string) error {
	if kind != Btrfs {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	by, err := newIdentity(f)
	if err = errors.Join(err, f.Close()); err == nil && !by {
		err = tune(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("give the btrfs of %s another identity: %w", path, err)
	}
	return nil
}

// newIdentity is not done, and no error, for a checksum that only btrfstune knows.
func newIdentity(f *os.File) (done bool, err error) {
	uuid := make([]byte, uuidBytes)
	if _, err := rand.Read(uuid); err != nil {
		return false, err
	}
	uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80 // RFC 9562, version 4
	for i, at := range supers() {
		b := make([]byte, superBytes)
		_, err := f.ReadAt(b, at)
		if i > 0 && (errors.Is(err, io.EOF) || err == nil && string(b[superMagic:superMagic+8]) != btrfsMagic) {
			continue // the filesystem is too small for this copy, or was
		}
		if err != nil {
			return false, err
		}
		switch {
		case string(b[superMagic:superMagic+8]) != btrfsMagic:
			return false, ErrUnknown
		case binary.LittleEndian.Uint64(b[superFlags:])&flagChanging != 0:
			return false, fmt.Errorf("%w: an earlier change of its identity did not end", ErrDamaged)
		case binary.LittleEndian.Uint16(b[superChecksum:]) != checksumCRC32C:
			if binary.LittleEndian.Uint64(b[superLog:]) != 0 {
				return false, fmt.Errorf("%w: it has a log that must be replayed first; publish its source once, and copy that", ErrDamaged)
			}
			return false, nil
		case !bytes.Equal(b[:4], checksum(b)):
			return false, fmt.Errorf("%w: the checksum of its superblock is wrong", ErrDamaged)
		}
		if features := binary.LittleEndian.Uint64(b[superIncompat:]); features&incompatMetadata == 0 {
			binary.LittleEndian.PutUint64(b[superIncompat:], features|incompatMetadata)
			copy(b[superMetadata:], b[superUUID:superUUID+uuidBytes])
		}
		copy(b[superUUID:], uuid)
		copy(b, checksum(b))
		if _, err := f.WriteAt(b, at); err != nil {
			return false, err
		}
	}
	return true, nil
}

func checksum(super []byte) []byte {
	sum := crc32.Checksum(super[superChecksummed:], crc32.MakeTable(crc32.Castagnoli))
	return binary.LittleEndian.AppendUint32(nil, sum)
}

func tune(ctx context.Context, path string) error {
	out, err := commands(ctx).Command("btrfstune", "-f", "-m", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("btrfstune: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
