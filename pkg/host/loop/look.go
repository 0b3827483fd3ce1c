package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// identity of an image: what fstat says of it. The kernel asks the filesystem in
// the same way for LOOP_GET_STATUS64, so both agree where each btrfs subvolume has
// a device number of its own. An attached image is held, so that its inode is not
// given to another file even when it is unlinked.
type identity struct{ dev, ino uint64 }

func identify(image *os.File) (identity, error) {
	var st unix.Stat_t
	if err := control(image, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return identity{}, fmt.Errorf("stat %s: %w", image.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, fmt.Errorf("%s is not a regular file: %w", image.Name(), fs.ErrInvalid)
	}
	return identity{st.Dev, st.Ino}, nil
}

type backing struct {
	identity
	number int
	flags  uint32
	// ours tells that the device carries our label.
	ours bool
}

// look opens a device and tells what backs it. The error Is ErrNotBacked when it
// is not attached.
func look(number, flag int) (*os.File, backing, error) {
	f, err := openNode(number, flag)
	switch {
	case errors.Is(err, unix.ENXIO): // being detached, or a node without a device
		return nil, backing{}, ErrNotBacked
	case errors.Is(err, ErrNoNode) && !attached(number):
		return nil, backing{}, ErrNotBacked
	case err != nil:
		return nil, backing{}, err
	}
	b, err := status(f)
	if err == nil && b.number != number {
		err = fmt.Errorf("/dev/%s is the node of loop device %d: %w", name(number), b.number, ErrNoNode)
	}
	if err != nil {
		_ = f.Close()
		return nil, backing{}, err
	}
	return f, b, nil
}

func status(f *os.File) (backing, error) {
	var info *unix.LoopInfo64
	err := control(f, func(fd int) (err error) {
		info, err = unix.IoctlLoopGetStatus64(fd)
		return err
	})
	switch {
	case errors.Is(err, unix.ENXIO):
		return backing{}, ErrNotBacked
	case err != nil:
		return backing{}, fmt.Errorf("get status: %w", err)
	}
	return backingOf(info), nil
}

func backingOf(info *unix.LoopInfo64) backing {
	return backing{
		identity: identity{info.Device, info.Inode}, number: int(info.Number), flags: info.Flags,
		ours: bytes.HasPrefix(info.File_name[:], []byte(mark)),
	}
}

func (b backing) device(f *os.File) (Device, error) {
	size, err := sizeOf(f)
	return Device{
		Number:    b.number,
		ReadOnly:  b.flags&unix.LO_FLAGS_READ_ONLY != 0,
		DirectIO:  b.flags&unix.LO_FLAGS_DIRECT_IO != 0,
		Autoclear: b.flags&unix.LO_FLAGS_AUTOCLEAR != 0,
		Ours:      b.ours,
		Size:      size,
	}, err
}

// sizeOf leaves the offset at the start.
func sizeOf(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return size, err
}

// openNode opens /dev/loopN, which must be a block device. The error Is ErrNoNode
// when there is none.
func openNode(number, flag int) (*os.File, error) {
	path := Device{Number: number}.Path()
	f, err := os.OpenFile(path, flag&^os.O_CREATE, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoNode)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = control(f, func(fd int) error { return unix.Fstat(fd, &st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		err = fmt.Errorf("%s is not a block device: %w", path, ErrNoNode)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// control calls f with the descriptor of a file, which stays open meanwhile, and
// repeats a call that a signal interrupted.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		for inner = f(int(fd)); errors.Is(inner, unix.EINTR); {
			inner = f(int(fd))
		}
	})
	return errors.Join(err, inner)
}

func ioctl(file *os.File, request uint, value int) error {
	return control(file, func(fd int) error { return unix.IoctlSetInt(fd, request, value) })
}
