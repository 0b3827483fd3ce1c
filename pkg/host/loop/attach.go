package loop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The kernel names the first free device to everybody who asks, and one of them
	// gets it.
	maxTries   = 200
	retryPause = 10 * time.Millisecond // at most, at random
)

// Attach makes a loop device of image, which is open for writing unless the device
// is to be read-only, and returns it. The image may be closed then: the device
// holds it, as it was opened (a filesystem with a writable image on a device cannot
// be remounted read-only). The kernel rounds the size down to whole sectors of 512
// bytes. An image that is attached already gets a second device: see Find.
//
// On an error nothing stays attached. It Is ErrNoLoop, ErrNoNode or ErrDiscard
// when the machine is in the way; unix.EBUSY when others took every free device.
// A crash leaves either an unattached device, which the kernel gives to whoever
// asks next, or an attached one, which Find finds; until Attach has returned, the
// latter may lack NoDiscard.
func Attach(ctx context.Context, image *os.File, o Options) (Device, error) {
	d, err := attach(ctx, image, o, configure)
	if err != nil {
		return Device{}, fmt.Errorf("attach %s to a loop device: %w", image.Name(), err)
	}
	return d, nil
}

// A configurer makes an open free device one of image.
type configurer func(device, image *os.File, o Options) error

func attach(ctx context.Context, image *os.File, o Options, c configurer) (Device, error) {
	if err := attachable(image, o); err != nil {
		return Device{}, err
	}
	for try := 1; ; try++ {
		d, err := attachOnce(ctx, image, o, c)
		if !taken(err) || try == maxTries {
			return d, err
		}
		if err := pause(ctx, rand.N(retryPause)); err != nil {
			return Device{}, err
		}
	}
}

// attachable refuses early what the kernel would silently make read-only.
func attachable(image *os.File, o Options) error {
	if _, err := identify(image); err != nil {
		return err
	}
	var flags int
	err := control(image, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	if err == nil && !o.ReadOnly && flags&unix.O_ACCMODE != unix.O_RDWR {
		err = fmt.Errorf("the image is not open for reading and writing: %w", fs.ErrInvalid)
	}
	return err
}

// taken: somebody else was faster, or still is about to detach.
func taken(err error) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EAGAIN)
}

func attachOnce(ctx context.Context, image *os.File, o Options, c configurer) (Device, error) {
	number, err := free()
	if err != nil {
		return Device{}, err
	}
	if !o.NoDiscard {
		renew(number)
	}
	f, err := awaitNode(ctx, number, o)
	if err != nil {
		return Device{}, err
	}
	defer func() { _ = f.Close() }()
	if err := isNumber(f, number); err != nil {
		return Device{}, err
	}
	if err := c(f, image, o); err != nil {
		return Device{}, err
	}
	d, err := finish(f, image, o)
	if err != nil {
		return Device{}, errors.Join(err, ioctl(f, unix.LOOP_CLR_FD, 0))
	}
	return d, nil
}

// finish checks and completes a device that is attached.
func finish(f, image *os.File, o Options) (Device, error) {
	want, err := identify(image)
	if err != nil {
		return Device{}, err
	}
	b, err := status(f)
	if err == nil && b.identity != want {
		err = ErrNotBacked
	}
	if err == nil && o.NoDiscard {
		err = forbidDiscard(b.number)
	}
	if err != nil {
		return Device{}, err
	}
	d, err := b.device(f)
	if err == nil && (d.ReadOnly != o.ReadOnly || d.Autoclear) {
		err = fmt.Errorf("the kernel made a device with read-only %t, autoclear %t", d.ReadOnly, d.Autoclear)
	}
	return d, err
}
