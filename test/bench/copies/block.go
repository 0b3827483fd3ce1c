package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const blockBytes = 64 * mib

// Names of the samples of block volumes.
const (
	createBlock   = "create block volume"
	publishBlock  = "publish block volume"
	createImage   = "create ext4 image"
	publishImage  = "publish ext4 image"
	createFloor   = "mkdir, create, ftruncate, record, rename, fsync"
	publishFloor  = "create target, GET_FREE, LOOP_CONFIGURE, open_tree, move_mount"
	publishedNote = "with blkid and fsck"
)

// measureBlock makes and publishes block volumes, ours and the floor's in turn.
func (s *station) measureBlock(p plan, r *report) (err error) {
	times := samples{}
	ours := func(i int) string { return fmt.Sprint("block-", i) }
	raw := func(i int) string { return fmt.Sprint("raw-", i) }
	for i := range p.block {
		progress("%s, block volumes: %d of %d", s.kind, i+1, p.block)
		err := inTurn(i,
			func() error {
				return times.take(createFloor, 1, func() error { return s.floor.block(raw(i), blockBytes) })
			},
			func() error {
				return times.take(createBlock, 1, func() error { return s.create(ours(i), block, blockBytes, nil) })
			})
		if err != nil {
			return err
		}
	}
	var attached []attachment
	defer func() {
		for _, a := range attached {
			err = errors.Join(err, a.detach())
		}
	}()
	for i := range p.block {
		err := inTurn(i,
			func() error {
				return times.take(publishFloor, 1, func() error {
					a, err := attach(s.floor.path(raw(i))+"/image", s.target(raw(i)))
					if err == nil {
						attached = append(attached, a)
					}
					return err
				})
			},
			func() error {
				return times.take(publishBlock, 1, func() error { return s.publish(ours(i), block, s.target(ours(i))) })
			})
		if err != nil {
			return err
		}
		if err := times.take(probe, 2, s.probe); err != nil {
			return err
		}
	}
	for i := range p.block {
		if err := errors.Join(s.unpublish(ours(i), s.target(ours(i))), s.remove(ours(i))); err != nil {
			return err
		}
	}
	if err := s.measureImages(p, times); err != nil {
		return err
	}
	r.block(s.kind, times)
	return s.purge()
}

func (s *station) measureImages(p plan, times samples) error {
	f := form{fsType: "ext4"}
	for i := range p.files {
		name := fmt.Sprint("image-", i)
		if err := times.take(createImage, 1, func() error { return s.create(name, f, blockBytes, nil) }); err != nil {
			return err
		}
		if err := times.take(publishImage, 1, func() error { return s.publish(name, f, s.target(name)) }); err != nil {
			return err
		}
		if err := errors.Join(s.unpublish(name, s.target(name)), s.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

// inTurn changes who is first.
func inTurn(i int, a, b func() error) error {
	if i%2 == 1 {
		a, b = b, a
	}
	if err := a(); err != nil {
		return err
	}
	return b()
}

// attachment is an image that shows as a device at a target.
type attachment struct{ device, target string }

// attach does what a publish of a block volume cannot do without.
func attach(image, target string) (attachment, error) {
	fd, err := unix.Open(target, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return attachment{}, err
	}
	if err := unix.Close(fd); err != nil {
		return attachment{}, err
	}
	file, err := unix.Open(image, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return attachment{}, err
	}
	defer unix.Close(file)
	a := attachment{target: target}
	for {
		a.device, err = configure(file)
		if !errors.Is(err, unix.EBUSY) { // another user of the machine was faster
			break
		}
	}
	if err != nil {
		return attachment{}, err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, a.device, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return attachment{}, errors.Join(err, free(a.device))
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return attachment{}, errors.Join(err, free(a.device))
	}
	return a, nil
}

func configure(file int) (device string, err error) {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	number, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	err = errors.Join(err, unix.Close(control))
	if err != nil {
		return "", err
	}
	device = fmt.Sprint("/dev/loop", number)
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	config := unix.LoopConfig{Fd: uint32(file), Size: 512, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_DIRECT_IO}}
	return device, unix.IoctlLoopConfigure(fd, &config)
}

func (a attachment) detach() error {
	return errors.Join(unix.Unmount(a.target, unix.UMOUNT_NOFOLLOW), os.Remove(a.target), free(a.device))
}

// free takes a device off that this process has attached.
func free(device string) error {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.IoctlRetInt(fd, unix.LOOP_CLR_FD)
	return errors.Join(err, unix.Close(fd))
}
