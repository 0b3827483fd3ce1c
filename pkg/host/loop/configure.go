package loop

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// configure makes a free device one of image, in one step: nobody ever sees a
// read-only device writable. Kernels before 5.8 lack LOOP_CONFIGURE, and say so
// with what they say to a bad argument.
func configure(device, image *os.File, o Options) error {
	err := control(image, func(fd int) error {
		// The size of sectors is given, because for 0 the kernel takes that of the
		// disk below the image when it does direct I/O.
		c := unix.LoopConfig{Fd: uint32(fd), Size: sectorBytes, Info: info(image, o)}
		return control(device, func(fd int) error { return unix.IoctlLoopConfigure(fd, &c) })
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		return configureOld(device, image, o)
	}
	if err != nil {
		return fmt.Errorf("configure %s: %w", device.Name(), err)
	}
	return nil
}

// configureOld takes the device read-only when it is open for reading only.
func configureOld(device, image *os.File, o Options) error {
	err := control(image, func(fd int) error { return ioctl(device, unix.LOOP_SET_FD, fd) })
	if err != nil {
		return fmt.Errorf("configure %s: %w", device.Name(), err)
	}
	status := info(image, o)
	status.Flags = 0
	err = control(device, func(fd int) error { return unix.IoctlLoopSetStatus64(fd, &status) })
	if err != nil {
		err = fmt.Errorf("set status of %s: %w", device.Name(), err)
		return errors.Join(err, ioctl(device, unix.LOOP_CLR_FD, 0))
	}
	_ = ioctl(device, unix.LOOP_SET_DIRECT_IO, 1) // the status tells
	return nil
}

// info has neither autoclear nor partition scan.
func info(image *os.File, o Options) unix.LoopInfo64 {
	i := unix.LoopInfo64{Flags: unix.LO_FLAGS_DIRECT_IO}
	if o.ReadOnly {
		i.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	label(i.File_name[:len(i.File_name)-1], image.Name())
	return i
}

// mark begins the label of every device that Attach makes. losetup and mount label
// theirs with an absolute path.
const mark = "hostvol:"

// label fills what tools like losetup show where sysfs does not tell: the mark, and
// as much of the end of the path as fits.
func label(dst []byte, path string) {
	n := copy(dst, mark)
	path = path[max(0, len(path)-(len(dst)-n)):]
	copy(dst[n:], strings.ToValidUTF8(path, ""))
}

// isNumber checks that the node is the one of the device of that number, by what
// sysfs says: a free device does not tell by itself.
func isNumber(f *os.File, number int) error {
	var st unix.Stat_t
	if err := control(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	want, err := attribute(number, "dev")
	if gone(err) {
		return unix.ENXIO // removed meanwhile: another one then
	}
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)); got != want {
		return fmt.Errorf("%s is device %s, not %s: %w", f.Name(), got, want, ErrNoNode)
	}
	return nil
}
