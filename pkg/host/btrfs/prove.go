package btrfs

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotEnforced: more was written than the limit allows.
var ErrNotEnforced = errors.New("btrfs did not refuse a write beyond the limit")

const (
	proofLimitBytes = 1 << 20
	proofWriteBytes = 2 << 20
	// Freeing an empty subvolume takes milliseconds once the cleaner is woken.
	qgroupPatience = 2 * time.Second
)

// Prove shows by doing that the filesystem of parent enforces limits: it makes
// a subvolume called name, limits it to 1 MiB, writes 2 MiB and expects EDQUOT.
// The error Is ErrNotEnforced when the write succeeds and ErrQuotaOff without
// quotas. The subvolume is removed in any case, its qgroup too unless the kernel
// is slow to free it (then later kernels remove it by themselves).
func Prove(parent int, name string) (err error) {
	if err := CreateSubvolume(parent, name); err != nil {
		return fmt.Errorf("prove quota: %w", err)
	}
	var id uint64
	defer func() { err = errors.Join(err, unprove(parent, name, id)) }()
	dir, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("prove quota: open %s: %w", name, err)
	}
	defer func() { _ = unix.Close(dir) }()
	if id, err = treeID(dir); err == nil {
		err = SetLimit(dir, proofLimitBytes)
	}
	if err == nil {
		err = overrun(dir)
	}
	if err != nil {
		return fmt.Errorf("prove quota: %w", err)
	}
	return nil
}

// overrun is nil when the kernel refused to write beyond the limit.
func overrun(dir int) error {
	fd, err := unix.Openat(dir, "proof", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create proof: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	chunk := make([]byte, 64<<10)
	for written := 0; written < proofWriteBytes; {
		n, err := unix.Write(fd, chunk)
		switch {
		case errors.Is(err, unix.EDQUOT):
			return nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("write proof: %w", err)
		}
		written += max(n, 0)
	}
	return ErrNotEnforced
}

func unprove(parent int, name string, id uint64) error {
	if err := DeleteSubvolume(parent, name); err != nil {
		return fmt.Errorf("prove quota: %w", err)
	}
	if id == 0 {
		return nil
	}
	for end := time.Now().Add(qgroupPatience); ; time.Sleep(20 * time.Millisecond) {
		err := Commit(parent) // wakes the cleaner and brings the count up to date
		if err == nil {
			err = RemoveQgroup(parent, id)
		}
		if err == nil || errors.Is(err, ErrBusy) && time.Now().After(end) {
			return nil
		}
		if !errors.Is(err, ErrBusy) {
			return fmt.Errorf("prove quota: %w", err)
		}
	}
}
