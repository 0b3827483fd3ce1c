package loop

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Keep undoes a Detach of a device that is in use and still there, so that it
// stays when its users have gone. The error Is ErrNotBacked when it came too late.
func Keep(image *os.File, d Device) (Device, error) {
	f, now, err := d.OpenNow(image, os.O_RDONLY)
	if err != nil {
		return Device{}, fmt.Errorf("keep: %w", err)
	}
	defer func() { _ = f.Close() }()
	if !now.Autoclear {
		return now, nil
	}
	err = control(f, func(fd int) error {
		info, err := unix.IoctlLoopGetStatus64(fd)
		if err != nil {
			return err
		}
		info.Flags &^= unix.LO_FLAGS_AUTOCLEAR // the only flag that can be cleared so
		return unix.IoctlLoopSetStatus64(fd, info)
	})
	if errors.Is(err, unix.ENXIO) {
		err = ErrNotBacked
	}
	if err != nil {
		return Device{}, fmt.Errorf("keep %s: %w", d.Path(), err)
	}
	b, err := status(f)
	if err != nil {
		return Device{}, fmt.Errorf("keep %s: %w", d.Path(), err)
	}
	return b.device(f)
}
