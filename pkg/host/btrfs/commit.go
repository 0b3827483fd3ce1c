package btrfs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// commitPatience is the time after which a commit is helped.
const commitPatience = 300 * time.Millisecond

// Commit makes every change of the filesystem's tree done so far durable:
// subvolumes, limits, names, attributes. It does not write out other files'
// dirty data, as syncfs would; data must be fsynced before. Callers that come
// together share one transaction. An error means that nothing may be
// taken as durable; a filesystem that has gone read-only, for instance after
// an aborted transaction, answers EROFS.
//
// The kernel (seen on 6.18) can lose the request while others commit by
// themselves, as snapshots do: its thread then sleeps until the next commit in
// turn, up to 30 s. So a commit that takes long is helped by syncfs, which does
// the work in the calling thread; what comes of that is told by the wait.
func Commit(fd int) error {
	done := make(chan error, 1)
	go func() { done <- startAndWait(fd) }()
	patience := time.NewTicker(commitPatience)
	defer patience.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-patience.C:
			_ = unix.Syncfs(fd)
		}
	}
}

func startAndWait(fd int) error {
	var transaction uint64
	if err := ioctl(fd, iocStartSync, &transaction); err != nil {
		return fmt.Errorf("start commit: %w", err)
	}
	if err := ioctl(fd, iocWaitSync, &transaction); err != nil {
		return fmt.Errorf("wait for commit %d: %w", transaction, err)
	}
	// Kernels before 5.17 do not pass on that the awaited transaction was aborted,
	// and START_SYNC succeeds when no transaction runs. Either way an aborted
	// filesystem is read-only by now, before the waiter is woken.
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("check commit %d: %w", transaction, err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("check commit %d: %w", transaction, unix.EROFS)
	}
	return nil
}
