package filesystem

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrOffline: the kernel grows this filesystem only while it is not mounted, or
// this process lacks the capability (ext4 wants CAP_SYS_RESOURCE).
var ErrOffline = errors.New("the filesystem cannot be grown while it is mounted")

// The ioctls that grow a filesystem. Source: ext4(5), xfsctl(3), btrfs-filesystem(8),
// linux/fs/ext4/ext4.h, linux/fs/xfs/libxfs/xfs_fs.h, linux/btrfs.h.
const (
	ext4Resize   = 0x40086610 // EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64)
	xfsGrowData  = 0x4010586e // XFS_IOC_FSGROWFSDATA: _IOW('X', 110, 16 bytes)
	btrfsResize  = 0x50009403 // BTRFS_IOC_RESIZE: _IOW(0x94, 3, 4096 bytes)
	btrfsNameMax = 4088
)

// xfsGrow is struct xfs_growfs_data.
type xfsGrow struct {
	blocks uint64
	imaxp  uint32
	_      uint32
}

// btrfsArgs is struct btrfs_ioctl_vol_args.
type btrfsArgs struct {
	_    int64
	name [btrfsNameMax]byte
}

// Grow makes a mounted filesystem as large as its device, bytes. dir is an open
// directory of it. One that is as large already is left alone, within the few
// blocks that a kind leaves at the end.
func Grow(dir int, device, kind string, bytes int64) error {
	is, err := Measure(device, kind)
	if err != nil {
		return err
	}
	if is.full(bytes) {
		return nil
	}
	switch kind {
	case Ext4:
		blocks := uint64(bytes / is.BlockBytes) //nolint:gosec // a size
		err = ioctl(dir, ext4Resize, unsafe.Pointer(&blocks))
	case XFS:
		arg := xfsGrow{blocks: uint64(bytes / is.BlockBytes), imaxp: is.InodePercent} //nolint:gosec // a size
		err = ioctl(dir, xfsGrowData, unsafe.Pointer(&arg))
	case Btrfs:
		var arg btrfsArgs
		copy(arg.name[:], "1:max")
		err = ioctl(dir, btrfsResize, unsafe.Pointer(&arg))
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", ErrOffline, err)
	}
	if err != nil {
		return fmt.Errorf("grow the %s of %s to %d bytes: %w", kind, device, bytes, err)
	}
	return nil
}

// GrowOffline makes an ext4 that is mounted nowhere as large as its device, bytes.
func GrowOffline(ctx context.Context, device string, bytes int64) error {
	is, err := Measure(device, Ext4)
	if err != nil || is.full(bytes) {
		return err
	}
	// What is begun here is not cut short when a call's time is over. resize2fs wants
	// a forced check before.
	ctx = context.WithoutCancel(ctx)
	if err := repair(ctx, "-f", "-p", device); err != nil {
		return err
	}
	if out, err := commands(ctx).Command("resize2fs", device).CombinedOutput(); err != nil {
		return fmt.Errorf("grow the %s of %s to %d bytes: %w: %s", Ext4, device, bytes, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}
