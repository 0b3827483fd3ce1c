// Package loop attaches image files to loop devices and takes them off again, by
// ioctl and sysfs alone.
//
// It owns the kernel's loop interface (loop(4), linux/loop.h). The machine's loop
// devices are shared with everybody on it, and a number that was freed can be
// somebody else's a moment later. So nothing here trusts a number: whoever
// attached keeps the image, and every call checks, on the open device that it then
// acts upon, that this image is what backs it. While a device is open its backing
// cannot be taken off, only marked for it (the kernel's LOOP_CHANGE_FD, for
// read-only devices, is the exception; nobody but installers is known to use it).
//
// It must not know pools or volumes. It needs CAP_SYS_ADMIN, the machine's /dev
// and a writable /sys.
package loop

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotBacked: the device is not, or not any more, backed by the image.
	ErrNotBacked = errors.New("loop device is not backed by this image")
	// ErrNoNode: the kernel has the device and /dev does not.
	ErrNoNode = errors.New("/dev lacks a loop device that the kernel has; in a container, mount the host's /dev")
	// ErrNoLoop: the kernel has no loop devices, or /dev has no loop-control.
	ErrNoLoop = errors.New("no /dev/loop-control; load the kernel module loop and, in a container, mount the host's /dev")
	// ErrDiscard: discard was to be switched off and could not be.
	ErrDiscard = errors.New("discard cannot be switched off on the loop device; in a container, mount the host's /sys writable")
)

// sectorBytes is the logical block size of every device that Attach makes.
const sectorBytes = 512

// Options of a new device. Direct I/O is always tried; sectors have 512 bytes.
type Options struct {
	// ReadOnly devices refuse writes from everybody, root included.
	ReadOnly bool
	// NoDiscard devices refuse discards, so that the image keeps its blocks; zeroing
	// writes zeros and punches no holes. Detach lets the number have discards again;
	// where somebody else took the image off, the number stays without until Attach
	// gets it.
	NoDiscard bool
}

// Device is an attached loop device, as it was when it was looked at.
type Device struct {
	Number   int
	ReadOnly bool
	// DirectIO: the page cache holds nothing of the image. The kernel leaves it off
	// where the image's filesystem cannot, or not with sectors of 512 bytes.
	DirectIO bool
	// Autoclear: the device detaches itself at its last close; somebody has
	// detached it while it was in use. Not to be handed out again.
	Autoclear bool
	// Ours: Attach made it, of this process or of another.
	Ours bool
	Size int64 // bytes
}

// Exclusive is a flag for Open: it fails with unix.EBUSY while somebody else has
// the device exclusively, as a mounted filesystem has.
const Exclusive = unix.O_EXCL

// Name of the device, loopN.
func (d Device) Name() string { return name(d.Number) }

// Path of the device node, /dev/loopN.
func (d Device) Path() string { return "/dev/" + name(d.Number) }

// Open opens the device node and checks on the descriptor that image backs it. As
// long as the file is open, it stays so. The flags are those of open(2), without
// O_CREAT. The error Is ErrNotBacked when the device is not attached or somebody
// else's, ErrNoNode when /dev lacks it.
func (d Device) Open(image *os.File, flag int) (*os.File, error) {
	f, _, err := d.OpenNow(image, flag)
	return f, err
}

// OpenNow is Open, and returns what the device is now.
func (d Device) OpenNow(image *os.File, flag int) (*os.File, Device, error) {
	want, err := identify(image)
	if err != nil {
		return nil, Device{}, err
	}
	f, b, err := look(d.Number, flag)
	if err == nil && b.identity != want {
		_ = f.Close()
		err = ErrNotBacked
	}
	if err != nil {
		return nil, Device{}, fmt.Errorf("open %s: %w", d.Path(), err)
	}
	now, err := b.device(f)
	if err != nil {
		_ = f.Close()
		return nil, Device{}, err
	}
	return f, now, nil
}

// Resize makes the device as large as the image is now, online. The kernel rounds
// down to whole sectors of 512 bytes: what the image has beyond is out of reach.
// The error Is ErrNotBacked as for Open.
func Resize(image *os.File, d Device) error {
	f, err := d.Open(image, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := image.Stat()
	if err != nil {
		return fmt.Errorf("resize %s: %w", d.Path(), err)
	}
	if err := ioctl(f, unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("resize %s: %w", d.Path(), err)
	}
	size, err := sizeOf(f)
	if err == nil && size < st.Size()&^(sectorBytes-1) {
		err = fmt.Errorf("it has %d bytes, its image %d", size, st.Size())
	}
	if err != nil {
		return fmt.Errorf("resize %s: %w", d.Path(), err)
	}
	return nil
}

func name(number int) string { return "loop" + strconv.Itoa(number) }
