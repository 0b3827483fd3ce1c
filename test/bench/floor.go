package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// floor does with bare system calls what a call of the driver cannot do without.
type floor struct {
	dir                     string // the pool, seen through a mount of its own
	targets                 string
	staging, volumes, trash int // open directories
	record                  []byte
}

// newFloor works in the daemon's own pool, since what a directory costs to make depends on where its parent lies.
// It sees the pool through a private mount of its own at dir, so that cloning a mount from it does not walk the
// mounts below a shared one.
func newFloor(pool, dir, targets string) (*floor, error) {
	f := &floor{dir: dir, targets: targets, record: []byte(strings.Repeat("r", 500))}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Mount(pool, dir, "", unix.MS_BIND, ""), unix.Mount("", dir, "", unix.MS_PRIVATE, "")); err != nil {
		return nil, fmt.Errorf("bind %s: %w", dir, err)
	}
	for name, fd := range map[string]*int{"staging": &f.staging, "volumes": &f.volumes, "trash": &f.trash} {
		path := filepath.Join(dir, name)
		var err error
		if *fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
	}
	return f, nil
}

func (f *floor) target(name string) string { return filepath.Join(f.targets, name+"-floor") }

// item keeps the floor's names apart from the daemon's.
func item(name string) string { return "floor-" + name }

func (f *floor) create(name string) error {
	name = item(name)
	if err := unix.Mkdirat(f.staging, name, 0o755); err != nil {
		return err
	}
	if err := unix.Mkdirat(f.staging, name+"/data", 0o755); err != nil {
		return err
	}
	// Records differ; of equal ones ext4 would keep a single block.
	record := append([]byte(name), f.record[len(name):]...)
	if err := unix.Lsetxattr(filepath.Join(f.dir, "staging", name), "trusted.bench", record, 0); err != nil {
		return err
	}
	if err := unix.Renameat(f.staging, name, f.volumes, name); err != nil {
		return err
	}
	return unix.Fsync(f.volumes)
}

func (f *floor) remove(name string) error {
	name = item(name)
	if err := unix.Renameat(f.volumes, name, f.trash, name); err != nil {
		return err
	}
	if err := unix.Fsync(f.volumes); err != nil {
		return err
	}
	return unix.Fsync(f.trash)
}

func (f *floor) publish(name string) error {
	target := f.target(name)
	if err := unix.Mkdir(target, 0o750); err != nil {
		return err
	}
	fd, err := unix.OpenTree(f.volumes, item(name)+"/data", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return err
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func (f *floor) unpublish(name string) error {
	target := f.target(name)
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
		return err
	}
	return unix.Rmdir(target)
}

func (f *floor) stats(name string) error {
	var s unix.Statfs_t
	return unix.Statfs(f.target(name), &s)
}

// clean takes out of the pool's trash what remove has put there. It is not measured.
func (f *floor) clean(name string) error {
	name = item(name)
	if err := unix.Unlinkat(f.trash, name+"/data", unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return unix.Unlinkat(f.trash, name, unix.AT_REMOVEDIR)
}
