package loop

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lingerPatience = 500 * time.Millisecond // for udev and the like, which look and go
	lingerPause    = 10 * time.Millisecond
)

// Detach takes image off the device. A device that image does not back (any more)
// is left alone and is no error.
//
// A device that is in use (mounted, or open by anybody) does not refuse: the
// kernel marks it to detach itself at its last close. Detach then waits half a
// second, and returns lingering if image still backs it: until the users have
// gone, what they write still reaches the image. It may be repeated.
func Detach(image *os.File, d Device) (lingering bool, err error) {
	f, err := d.Open(image, os.O_RDONLY)
	if errors.Is(err, ErrNotBacked) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("detach: %w", err)
	}
	err = ioctl(f, unix.LOOP_CLR_FD, 0)
	if errors.Is(err, unix.ENXIO) {
		err = nil // somebody else did it
	}
	if err = errors.Join(err, f.Close()); err != nil { // since kernel 6.11 the close detaches
		return false, fmt.Errorf("detach %s: %w", d.Path(), err)
	}
	if lingering, err = lingers(image, d); err == nil && !lingering {
		renew(d.Number)
	}
	return lingering, err
}

// lingers waits for image to come off.
func lingers(image *os.File, d Device) (bool, error) {
	for end := time.Now().Add(lingerPatience); ; time.Sleep(lingerPause) {
		f, err := d.Open(image, os.O_RDONLY)
		if errors.Is(err, ErrNotBacked) {
			return false, nil
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return false, fmt.Errorf("detach: %w", err)
		}
		if time.Now().After(end) {
			return true, nil
		}
	}
}
