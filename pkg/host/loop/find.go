package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const sysBlock = "/sys/block/"

// Backing is what a loop device of the machine, anybody's, is attached to.
type Backing struct {
	Number int
	// Dev and Ino of the image, as fstat gives them.
	Dev, Ino uint64
	// File is the path of the image as sysfs shows it: of the mount namespace of
	// whoever reads it where it is to be seen there, " (deleted)" behind it when
	// it is unlinked, empty when it is detached meanwhile. For people, not for proof.
	File                string
	ReadOnly, Autoclear bool
	// Ours: Attach made it.
	Ours bool
}

// Find returns the devices that image backs now, by their numbers; none is no
// error. A device that somebody attaches or detaches meanwhile may be among them.
// As Backed does, it opens every attached loop device of the machine for a moment,
// for reading; if it is detached just then, the kernel does it when that ends.
func Find(image *os.File) ([]Device, error) {
	want, err := identify(image)
	if err != nil {
		return nil, fmt.Errorf("find loop devices: %w", err)
	}
	var found []Device
	err = scan(func(b backing) error {
		if b.identity != want {
			return nil
		}
		f, d, err := Device{Number: b.number}.OpenNow(image, os.O_RDONLY)
		if errors.Is(err, ErrNotBacked) {
			return nil // detached meanwhile
		}
		if err == nil {
			found = append(found, d)
			err = f.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find loop devices of %s: %w", image.Name(), err)
	}
	return found, nil
}

// Backed returns what every attached loop device of the machine is backed by, by
// their numbers. The error Is ErrNoNode when /dev lacks one of them.
func Backed() ([]Backing, error) {
	var all []Backing
	err := scan(func(b backing) error {
		file, err := attribute(b.number, "loop/backing_file")
		if err != nil && !gone(err) {
			return err
		}
		all = append(all, Backing{
			Number: b.number, Dev: b.dev, Ino: b.ino, File: file, Ours: b.ours,
			ReadOnly: b.flags&unix.LO_FLAGS_READ_ONLY != 0, Autoclear: b.flags&unix.LO_FLAGS_AUTOCLEAR != 0,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	return all, nil
}

// scan calls f with what backs every attached device.
func scan(f func(backing) error) error {
	numbers, err := sized()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		b, err := glance(n)
		if errors.Is(err, ErrNotBacked) {
			continue // detached meanwhile
		}
		if err == nil {
			err = f(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// glance is look with as few system calls as it takes: a scan makes one for each
// device of the machine, and where one goes wrong, look says why.
func glance(number int) (backing, error) {
	fd, err := unix.Open(Device{Number: number}.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		info, serr := unix.IoctlLoopGetStatus64(fd)
		if err = errors.Join(serr, unix.Close(fd)); err == nil && int(info.Number) == number {
			return backingOf(info), nil
		}
	}
	f, b, err := look(number, os.O_RDONLY)
	if err == nil {
		err = f.Close()
	}
	return b, err
}

// sized are the numbers of the devices that have a size, as each has that shows a
// byte of an image. Free ones, of which a machine keeps as many as it ever needed,
// are not in the list, and cost nothing. Source: proc_partitions(5).
func sized() ([]int, error) {
	text, err := os.ReadFile("/proc/partitions")
	if err != nil {
		return nil, err
	}
	var numbers []int
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			continue
		}
		digits, ok := strings.CutPrefix(fields[3], "loop")
		if n, err := strconv.Atoi(digits); ok && err == nil { // no partition of one
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// attached tells what sysfs shows: the directory loop is there between attach and
// detach.
func attached(number int) bool {
	_, err := os.Lstat(sysBlock + name(number) + "/loop")
	return err == nil
}

// attribute reads a file of the device in sysfs, which gives all of it to one read.
// os.ReadFile takes four times as many system calls, and every attach reads some.
func attribute(number int, file string) (string, error) {
	path := sysBlock + name(number) + "/" + file
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	b := make([]byte, attributeBytes)
	n, err := unix.Read(fd, b)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(fd, b)
	}
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimSuffix(string(b[:n]), "\n"), nil
}

const attributeBytes = 4096 // a page, more than sysfs gives

// gone: a file in sysfs went away while it was opened or read.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
