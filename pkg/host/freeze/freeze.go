// Package freeze stops the writes to mounted filesystems for an instant, and sees
// to it that they go on again, whatever becomes of this process.
//
// The kernel knows no freeze that ends with the process that asked for it, and a
// freeze waits, beyond any signal, for writes that are under way: a process that
// splices from an empty pipe into a file can make it wait for ever. So a guard, a
// program of its own, holds the same filesystems open and freezes them. It lets
// them go when the time is up or when this process has ended, even by SIGKILL.
// What ends both at once (a container that is killed as a whole) leaves them
// frozen; the caller keeps a note of what it freezes, and calls Thaw for it at its
// next start.
//
// Source: ioctl_fifreeze (linux/fs.h), fsfreeze(8).
package freeze

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/run"
)

// ioctls of linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int).
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

var (
	// ErrEnded: the time was over before Thaw was called, or before the filesystems
	// were frozen. Writes may have gone on.
	ErrEnded = errors.New("the time for which a filesystem may be frozen was over")
	// ErrFrozen: somebody else has frozen the filesystem.
	ErrFrozen = errors.New("the filesystem is frozen by somebody else; end that with fsfreeze --unfreeze")
)

// Frozen are filesystems to which nobody can write now.
type Frozen struct {
	dirs  []*os.File
	guard *run.Child
	// Until is when the guard lets them go.
	Until time.Time
}

// Freeze freezes the filesystems of the open directories, all or none, for at most
// that long. What their files hold is on their devices then, and the devices hold
// filesystems that need no recovery. guard is the program, with arguments, whose
// main calls Guard; the directories stay the caller's, and open until Thaw.
//
// It is ErrEnded when not all are frozen in that time. A write that does not end
// keeps one filesystem from being frozen, and until that write has ended no process
// can write to it, and no signal ends the guard: the error is a *StuckError then.
func Freeze(dirs []*os.File, limit time.Duration, guard []string) (*Frozen, error) {
	until := time.Now().Add(limit)
	child, err := run.Start(append(slices.Clone(guard), limit.String()), dirs...)
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	said := make(chan error, 1)
	go func() {
		line, err := child.Line()
		if err == nil {
			err = answer(line, dirs)
		}
		said <- err
	}()
	select {
	case err = <-said:
	case <-time.After(limit + grace):
		err = &StuckError{Stuck: every(dirs), err: fmt.Errorf("the guard does not answer: %w", ErrEnded)}
	}
	var stuck *StuckError
	switch {
	case errors.As(err, &stuck):
		stuck.follow(child)
		return nil, fmt.Errorf("freeze: %w", stuck)
	case err != nil:
		return nil, errors.Join(fmt.Errorf("freeze: %w", err), child.Wait())
	}
	f := &Frozen{dirs: dirs, guard: child, Until: until}
	if time.Now().After(until) {
		return nil, f.Thaw()
	}
	return f, nil
}

// grace is how much longer than the limit a loaded machine has for the guard's word.
const grace = 20 * time.Second

func freeze(dir *os.File) error {
	err := ioctl(dir, fiFreeze)
	if errors.Is(err, unix.EBUSY) {
		return ErrFrozen
	}
	return err
}

// Thaw lets the filesystems go. ErrEnded means that they were let go before.
func (f *Frozen) Thaw() error {
	var errs []error
	ended := time.Now().After(f.Until)
	for _, dir := range f.dirs {
		was, err := Thaw(dir)
		ended = ended || err == nil && !was
		errs = append(errs, err)
	}
	if errors.Join(errs...) == nil {
		// The guard must not thaw what somebody freezes next.
		errs = append(errs, f.guard.Tell(done))
	}
	err := f.guard.Wait()
	if ended {
		return errors.Join(append(errs, ErrEnded)...)
	}
	return errors.Join(append(errs, err)...)
}

// Thaw lets the filesystem of an open directory go, and tells whether it was frozen.
func Thaw(dir *os.File) (was bool, err error) {
	err = ioctl(dir, fiThaw)
	if errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("thaw the filesystem of %s: %w; run fsfreeze --unfreeze on a mount of it", dir.Name(), err)
	}
	return true, nil
}

func ioctl(dir *os.File, request uint) error {
	raw, err := dir.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = unix.IoctlSetInt(int(fd), request, 0) })
	return errors.Join(err, inner)
}
