// Package quota limits directory trees with the project quotas of XFS and ext4.
//
// It owns quotactl(2) for project ids, the project id of an inode, and the proof
// that the kernel enforces both. Callers give it open directories and choose the
// ids. It must not know pools or volumes. Everything here needs root.
package quota

import (
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The commands and layouts of linux/dqblk_xfs.h. The kernel translates them for
// ext4 too (fs/quota/quota.c), so one set serves both.
const (
	prjQuota = 2

	qXGetQuota  = 'X'<<8 + 3
	qXSetLimit  = 'X'<<8 + 4
	qXGetStateV = 'X'<<8 + 8

	basicBlock = 512 // unit of every block count

	dquotVersion = 1
	stateVersion = 1

	fieldBlockSoft = 1 << 2
	fieldBlockHard = 1 << 3

	projectQuotaFlag = 1 << 1 // FS_PROJ_QUOTA

	projectAccounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	projectEnforced  = 1 << 5 // FS_QUOTA_PDQ_ENFD
)

type (
	diskQuota struct { // struct fs_disk_quota
		version, flags                             int8
		fieldMask                                  uint16
		id                                         uint32
		blockHard, blockSoft, inodeHard, inodeSoft uint64
		blocks, inodes                             uint64
		inodeTimer, blockTimer                     int32
		inodeWarns, blockWarns                     uint16
		inodeTimerHi, blockTimerHi, rtTimerHi, _   int8
		rtHard, rtSoft, rtBlocks                   uint64
		rtTimer                                    int32
		rtWarns                                    uint16
		_                                          int16
		_                                          [8]byte
	}
	quotaFile struct { // struct fs_qfilestatv
		inode, blocks uint64
		extents, _    uint32
	}
	quotaState struct { // struct fs_quota_statv
		version                            int8
		_                                  uint8
		flags                              uint16
		inCore                             uint32
		user, group, project               quotaFile
		blockLimit, inodeLimit, rtLimit    int32
		blockWarns, inodeWarns, rtWarns, _ uint16
		_                                  uint32
		_                                  [7]uint64
	}
)

// ioctl_fsgetxattr, linux/fs.h: _IOR('X', 31, struct fsxattr) and _IOW('X', 32, ...).
const (
	iocGetAttributes = 0x801c581f
	iocSetAttributes = 0x401c5820

	projectInherit = 0x200 // FS_XFLAG_PROJINHERIT
)

type (
	attributes struct { // struct fsxattr
		flags, extentSize, extents, project, cowExtentSize uint32
		_                                                  [8]byte
	}
	// fileAttr is struct file_attr of file_getattr(2) and file_setattr(2), kernel 6.17.
	fileAttr struct {
		flags                                       uint64
		extentSize, extents, project, cowExtentSize uint32
	}
)

// quotactlFD is quotactl_fd(2), kernel 5.14, for a project.
func quotactlFD(fd int, command uintptr, id uint32, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), command<<8|prjQuota, uintptr(id), uintptr(arg), 0, 0)
	return result(errno)
}

// quotactlDevice is quotactl(2) for a project, by the path of the block device.
func quotactlDevice(device string, command uintptr, id uint32, arg unsafe.Pointer) error {
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL, command<<8|prjQuota, uintptr(unsafe.Pointer(path)), uintptr(id), uintptr(arg), 0, 0)
	runtime.KeepAlive(path)
	return result(errno)
}

func ioctl(fd int, request uintptr, arg *attributes) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
	return result(errno)
}

// fileAttrs calls file_getattr or file_setattr on the file of an O_PATH descriptor,
// which they take by its link in /proc only. That link leads to the file itself,
// be it a symbolic link.
func fileAttrs(syscall uintptr, fd int, arg *fileAttr) error {
	path, err := unix.BytePtrFromString("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return err
	}
	here := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(syscall, uintptr(here), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(arg)), unsafe.Sizeof(*arg), 0, 0)
	return result(errno)
}

func result(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
