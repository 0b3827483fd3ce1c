package extents

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	iocGetAttributes = 0x801c581f // FS_IOC_FSGETXATTR, _IOR('X', 31, struct fsxattr)
	iocBtrfsInfo     = 0x8400941f // BTRFS_IOC_FS_INFO, _IOR(0x94, 31, struct btrfs_ioctl_fs_info_args)

	realtime = 0x1 // FS_XFLAG_REALTIME
)

type (
	attributes struct { // struct fsxattr
		flags uint32
		_     [24]byte
	}
	btrfsInfo struct { // struct btrfs_ioctl_fs_info_args
		_    [2]uint64
		fsid [16]byte
		_    [1024 - 32]byte
	}
)

// sameSpace tells whether equal physical addresses of two files are the same block.
// That is known of ext4, of XFS, where a file is on the data or on the realtime
// device, and of btrfs, whose addresses are of the filesystem and not of a disk.
// Others may have several devices (f2fs, bcachefs) or pass on the answer of one of
// several filesystems (overlayfs).
func sameSpace(a, b *os.File) (bool, error) {
	x, err := spaceOf(a)
	if err != nil {
		return false, err
	}
	y, err := spaceOf(b)
	return err == nil && x == y && x != space{}, err
}

// space names what addresses are of; its zero value is none that is known.
type space struct {
	magic    uint32
	dev      uint64   // not of btrfs, where each subvolume has its own, as has statfs
	fsid     [16]byte // of btrfs; the kernel does not mount two with the same
	realtime bool
}

func spaceOf(f *os.File) (space, error) {
	var st unix.Stat_t
	var sf unix.Statfs_t
	s := space{}
	err := control(f, func(fd int) error {
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if err := unix.Fstatfs(fd, &sf); err != nil {
			return err
		}
		s.magic = uint32(sf.Type)
		switch s.magic {
		case unix.BTRFS_SUPER_MAGIC:
			var info btrfsInfo
			err := ioctl(fd, iocBtrfsInfo, unsafe.Pointer(&info))
			s.fsid = info.fsid
			return err
		case unix.XFS_SUPER_MAGIC:
			var a attributes
			err := ioctl(fd, iocGetAttributes, unsafe.Pointer(&a))
			s.dev, s.realtime = st.Dev, a.flags&realtime != 0
			return err
		case unix.EXT4_SUPER_MAGIC:
			s.dev = st.Dev
		default:
			s = space{}
		}
		return nil
	})
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return space{}, nil
	}
	return s, err
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
