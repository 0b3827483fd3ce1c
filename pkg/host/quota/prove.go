package quota

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotEnforced: more was written than the limit allows.
var ErrNotEnforced = errors.New("the kernel did not refuse a write beyond the project's limit")

const (
	proofLimitBytes = 1 << 20
	proofWriteBytes = 2 << 20
	proofName       = ".hostvol-proof"
)

// Prove shows by doing that limits bind: it gives the directory dir, an empty one
// that the caller made for this, the project scratchID limited to 1 MiB, writes
// 2 MiB without CAP_SYS_RESOURCE (which exempts root on ext4) and expects to be
// refused. The error Is ErrNotEnforced when the write succeeds. File, limit and
// project id are taken back in any case; XFS may count the freed blocks for the
// project a moment longer.
func (p *Project) Prove(dir int, scratchID uint32) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("prove project quota: %w", err)
		}
	}()
	used, err := p.InUse(scratchID)
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("project %d is in use: %w", scratchID, unix.EBUSY)
	}
	defer func() { err = errors.Join(err, SetProject(dir, 0, false), p.SetLimit(scratchID, 0)) }()
	if err := SetProject(dir, scratchID, true); err != nil {
		return err
	}
	if err := p.SetLimit(scratchID, proofLimitBytes); err != nil {
		return err
	}
	return p.overrun(dir, scratchID)
}

// overrun is nil when the kernel refused to write beyond the limit.
func (p *Project) overrun(dir int, id uint32) (err error) {
	fd, err := unix.Openat(dir, proofName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create proof: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd), unix.Unlinkat(dir, proofName, 0)) }()
	got, _, err := ProjectOf(fd)
	if err != nil {
		return err
	}
	if got != id {
		return fmt.Errorf("%w: a new file got project %d, not %d", ErrNotEnforced, got, id)
	}
	err = without(unix.CAP_SYS_RESOURCE, func() error { return fill(fd) })
	switch {
	case err == nil:
		return ErrNotEnforced
	case errors.Is(err, unix.EDQUOT):
		return nil
	case !errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("write proof: %w", err)
	}
	// XFS says ENOSPC for a full project and for a full filesystem.
	u, errRead := p.Read(id)
	if errRead == nil && u.Bytes < proofLimitBytes/2 {
		return fmt.Errorf("write proof: the filesystem is full: %w", err)
	}
	return errRead
}

func fill(fd int) error {
	chunk := make([]byte, 64<<10)
	for written := 0; written < proofWriteBytes; {
		n, err := unix.Write(fd, chunk)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		written += max(n, 0)
	}
	return unix.Fsync(fd) // delayed allocation may find the limit only now
}

// without runs f on a thread of its own that lacks a capability (below 32) in its
// effective set. The thread ends with the goroutine unless it has got its set back.
func without(capability uint, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: this thread
		var full [2]unix.CapUserData
		if err := unix.Capget(&header, &full[0]); err != nil {
			done <- fmt.Errorf("get capabilities: %w", err)
			return
		}
		less := full
		less[0].Effective &^= 1 << capability
		if err := unix.Capset(&header, &less[0]); err != nil {
			done <- fmt.Errorf("drop capability %d: %w", capability, err)
			return
		}
		err := f()
		if unix.Capset(&header, &full[0]) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
