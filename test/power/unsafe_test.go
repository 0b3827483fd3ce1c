//go:build power

package power

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncNothing makes the kernel answer every sync of this process with success, and not do it: the fault of a driver
// that acknowledges too early, without a change to it.
func syncNothing() error {
	const (
		number   = 0  // offsets in struct seccomp_data
		argument = 24 // the low half of the second one
	)
	calls := []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_SYNC}
	ioctls := []uint32{0x80089418, 0x40089416} // BTRFS_IOC_START_SYNC, BTRFS_IOC_WAIT_SYNC
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	success := answer(unix.SECCOMP_RET_ERRNO) // errno 0
	allow := answer(unix.SECCOMP_RET_ALLOW)

	program := []unix.SockFilter{load(number)}
	for _, call := range calls {
		program = append(program, unless(call, 1), success)
	}
	program = append(program, unless(unix.SYS_IOCTL, uint8(1+2*len(ioctls))), load(argument))
	for _, ioctl := range ioctls {
		program = append(program, unless(ioctl, 1), success)
	}
	program = append(program, allow)

	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return fmt.Errorf("install the filter: %w", errno)
	}
	return nil
}
