package mount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOption means that a filesystem does not take a mount option.
var ErrOption = errors.New("not an option of this filesystem")

// Filesystem mounts the filesystem of a block device, on no target yet; Mount
// puts it there. The options are the filesystem's own, as mount(8) takes them:
// "discard", "logbufs=8". A device whose filesystem is mounted already gives
// another mount of the same, and the options are without effect.
//
// Source: fsopen(2), fsconfig(2), fsmount(2), since Linux 5.2.
func Filesystem(kind, device string, readOnly bool, options []string) (*Source, error) {
	fd, err := filesystem(kind, device, readOnly, options)
	if err != nil {
		return nil, fmt.Errorf("mount the %s of %s: %w", kind, device, err)
	}
	return &Source{name: device, fd: fd, fresh: true}, nil
}

// CheckOptions fails with ErrOption when a filesystem does not take one of the
// options. It mounts nothing.
func CheckOptions(kind string, options []string) error {
	ctx, err := fsopen(kind)
	if err != nil {
		return err
	}
	defer unix.Close(ctx) //nolint:errcheck // read only
	return configure(ctx, options)
}

func filesystem(kind, device string, readOnly bool, options []string) (mount int, err error) {
	ctx, err := fsopen(kind)
	if err != nil {
		return -1, err
	}
	defer unix.Close(ctx) //nolint:errcheck // read only
	if err := unix.FsconfigSetString(ctx, "source", device); err != nil {
		return -1, told(ctx, err)
	}
	if readOnly {
		if err := unix.FsconfigSetFlag(ctx, "ro"); err != nil {
			return -1, told(ctx, err)
		}
	}
	if err := configure(ctx, options); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("%w; the kernel's log may tell more", told(ctx, err))
	}
	mount, err = unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, told(ctx, err)
	}
	return mount, nil
}

func fsopen(kind string) (ctx int, err error) {
	ctx, err = unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return -1, fmt.Errorf("%w: this kernel has no filesystem %s; load its module", err, kind)
	}
	return ctx, err
}

func configure(ctx int, options []string) error {
	for _, option := range options {
		var err error
		if key, value, has := strings.Cut(option, "="); has {
			err = unix.FsconfigSetString(ctx, key, value)
		} else {
			err = unix.FsconfigSetFlag(ctx, key)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrOption, option, told(ctx, err))
		}
	}
	return nil
}

// told adds what the kernel has to say of an error: a context of fsopen gives
// its messages to read(2).
func told(ctx int, err error) error {
	buf := make([]byte, 4<<10)
	var messages []string
	for {
		n, rerr := unix.Read(ctx, buf)
		if n <= 0 || rerr != nil {
			break
		}
		messages = append(messages, strings.TrimPrefix(strings.TrimSpace(string(buf[:n])), "e "))
	}
	if messages == nil {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(messages, "; "))
}
