// Package btrfs makes, limits, measures and removes btrfs subvolumes by ioctl.
//
// It owns the kernel's btrfs interface (linux/btrfs.h, linux/btrfs_tree.h) and
// nothing above it: callers give it open directories (real descriptors, not
// O_PATH) and single names below them. It must not know pools or volumes.
// Everything here needs CAP_SYS_ADMIN.
package btrfs

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	magic = 0x94

	firstFreeObjectID = 256 // root directory of every subvolume

	rootTree  = 1
	quotaTree = 8

	rootRefKey      = 156
	qgroupStatusKey = 240
	qgroupInfoKey   = 242
	qgroupLimitKey  = 244

	subvolReadOnly = 1 << 1

	limitMaxReferenced = 1 << 0
	limitNone          = ^uint64(0) // removes the limit named by the flag

	quotaEnable = 1

	statusOn           = 1 << 0
	statusRescan       = 1 << 1
	statusInconsistent = 1 << 2
	statusSimple       = 1 << 3
)

// Layouts of linux/btrfs.h.
type (
	volArgs struct {
		fd   int64
		name [4088]byte
	}
	volArgsV2 struct {
		fd      int64
		transID uint64
		flags   uint64
		_       [4]uint64
		name    [4040]byte
	}
	qgroupLimit struct {
		flags, maxReferenced, maxExclusive, rsvReferenced, rsvExclusive uint64
	}
	qgroupLimitArgs struct {
		id    uint64
		limit qgroupLimit
	}
	qgroupCreateArgs struct{ create, id uint64 }
	quotaCtlArgs     struct{ cmd, status uint64 }
	quotaRescanArgs  struct {
		flags, progress uint64
		_               [6]uint64
	}
	inoLookupArgs struct {
		treeID, objectID uint64
		name             [4080]byte
	}
	searchKey struct {
		treeID                   uint64
		minObjectID, maxObjectID uint64
		minOffset, maxOffset     uint64
		minTransID, maxTransID   uint64
		minType, maxType         uint32
		items                    uint32
		_                        uint32
		_                        [4]uint64
	}
	searchArgsV2 struct {
		key     searchKey
		bufSize uint64
		// the buffer follows
	}
	searchHeader struct {
		transID, objectID, offset uint64
		keyType, length           uint32
	}
)

var (
	iocSubvolCreate   = iow(14, unsafe.Sizeof(volArgs{}))
	iocSnapDestroy    = iow(15, unsafe.Sizeof(volArgs{}))
	iocTreeSearchV2   = iowr(17, unsafe.Sizeof(searchArgsV2{}))
	iocInoLookup      = iowr(18, unsafe.Sizeof(inoLookupArgs{}))
	iocWaitSync       = iow(22, 8)
	iocSnapCreateV2   = iow(23, unsafe.Sizeof(volArgsV2{}))
	iocStartSync      = ior(24, 8)
	iocSubvolGetFlags = ior(25, 8)
	iocSubvolSetFlags = iow(26, 8)
	iocQuotaCtl       = iowr(40, unsafe.Sizeof(quotaCtlArgs{}))
	iocQgroupCreate   = iow(42, unsafe.Sizeof(qgroupCreateArgs{}))
	iocQuotaRescan    = iow(44, unsafe.Sizeof(quotaRescanArgs{}))
	iocQgroupLimit    = ior(43, unsafe.Sizeof(qgroupLimitArgs{}))
)

// The encoding of _IOC on every architecture Go runs Linux on but mips, ppc and sparc.
func iow(nr, size uintptr) uintptr  { return 1<<30 | size<<16 | magic<<8 | nr }
func ior(nr, size uintptr) uintptr  { return 2<<30 | size<<16 | magic<<8 | nr }
func iowr(nr, size uintptr) uintptr { return 3<<30 | size<<16 | magic<<8 | nr }

// ioctl returns a plain errno and repeats a call that a signal interrupted.
func ioctl[T any](fd int, request uintptr, arg *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
		runtime.KeepAlive(arg)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
