// Package errno names the kernel's error numbers that the layers above act
// upon, so that they need not know system calls.
package errno

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrNoSpace is what the kernel answers when a filesystem is full.
const ErrNoSpace = unix.ENOSPC

// NoSpace tells whether err means that the filesystem or a quota is full.
func NoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// TooLarge tells whether err means that a filesystem has no files of that size.
func TooLarge(err error) bool { return errors.Is(err, unix.EFBIG) }

// ReadOnly tells whether err means that the filesystem takes no writes.
func ReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

// Busy tells whether err means that something is in use.
func Busy(err error) bool { return errors.Is(err, unix.EBUSY) }

// NotEmpty tells whether err means that a directory still has entries.
func NotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) }

// CrossDevice tells whether err means that a rename would leave its filesystem.
func CrossDevice(err error) bool { return errors.Is(err, unix.EXDEV) }

// Link tells whether err means that a path has a symbolic link, leaves its
// directory, or has something else in it that is not a directory.
func Link(err error) bool {
	return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOTDIR)
}

// NoAttribute tells whether err means that a file lacks the asked attribute.
func NoAttribute(err error) bool { return errors.Is(err, unix.ENODATA) }

// NoDisk tells whether err is how a lost disk, a shut-down filesystem or a
// dead server shows itself.
func NoDisk(err error) bool {
	for _, e := range []unix.Errno{unix.EIO, unix.ENODEV, unix.ENXIO, unix.ESTALE, unix.ENOTCONN, unix.ESHUTDOWN, unix.EUCLEAN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
