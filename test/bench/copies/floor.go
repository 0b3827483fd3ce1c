package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
)

// floor does with bare system calls what a driver cannot do without: build an item in staging/, give it a record, rename
// it, and make that durable. It works in the daemon's own pool, since what a directory costs to make depends on where
// its parent lies.
type floor struct {
	dir              string
	kind             string
	staging, volumes int // open directories
}

func (f *floor) open(dir, kind string) (err error) {
	f.dir, f.kind = dir, kind
	for name, fd := range map[string]*int{"staging": &f.staging, "volumes": &f.volumes} {
		path := filepath.Join(dir, name)
		if *fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
	}
	return nil
}

// item keeps the floor's names apart from the daemon's.
func item(name string) string { return "floor-" + name }

func (f *floor) close() error { return errors.Join(unix.Close(f.staging), unix.Close(f.volumes)) }

// arrive ends every raw operation: the record, the rename, its durability.
func (f *floor) arrive(name string, durable func(int) error) error {
	name = item(name)
	record := []byte(name + strings.Repeat("r", 500-len(name))) // of equal records ext4 would keep a single block
	if err := unix.Lsetxattr(filepath.Join(f.dir, "staging", name), "trusted.bench", record, 0); err != nil {
		return err
	}
	if err := unix.Renameat(f.staging, name, f.volumes, name); err != nil {
		return err
	}
	return durable(f.volumes)
}

// subvolume: mkdir, the snapshot ioctl, for a volume its limit, the record, rename, commit.
func (f *floor) subvolume(name, source string, limit int64) error {
	if err := unix.Mkdirat(f.staging, item(name), 0o755); err != nil {
		return err
	}
	dir, err := unix.Openat(f.staging, item(name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	src, err := unix.Open(source, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	if err := btrfs.Snapshot(src, dir, "data", limit == 0); err != nil {
		return err
	}
	if limit > 0 {
		data, err := unix.Openat(dir, "data", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(data)
		if err := btrfs.SetLimit(data, limit); err != nil {
			return err
		}
	}
	return f.arrive(name, btrfs.Commit)
}

// reflink: mkdir, create, FICLONE, fsync, the record, rename, fsync.
func (f *floor) reflink(name, source string) error {
	src, err := unix.Open(source, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	to, err := f.file(name)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), src); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	return f.arrive(name, unix.Fsync)
}

// block: mkdir, create, ftruncate, the record, rename, fsync.
func (f *floor) block(name string, bytes int64) error {
	to, err := f.file(name)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := unix.Ftruncate(int(to.Fd()), bytes); err != nil {
		return err
	}
	return f.arrive(name, unix.Fsync)
}

// file makes an item with an empty file, which btrfs is to overwrite in place as it does an image.
func (f *floor) file(name string) (*os.File, error) {
	if err := unix.Mkdirat(f.staging, item(name), 0o755); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(f.staging, item(name)+"/image", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	to := os.NewFile(uintptr(fd), name)
	if f.kind == "btrfs" {
		imagefile.InPlace(to)
	}
	return to, nil
}

func (f *floor) path(name string) string { return filepath.Join(f.dir, "volumes", item(name)) }

// cp copies as `cp -a --reflink` does, sharing blocks if it is always, and returns the time of cp, and that until all
// is durable: ours is when it answers.
func (f *floor) cp(ctx context.Context, name, source, reflink string) (alone, synced time.Duration, err error) {
	start := time.Now()
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink="+reflink, source, f.path(name)).CombinedOutput()
	alone = time.Since(start)
	if err != nil {
		return 0, 0, fmt.Errorf("cp: %w: %s", err, out)
	}
	err = settle(f.dir)
	return alone, time.Since(start), err
}

// clear removes what an operation has made.
func (f *floor) clear(name string) error {
	if f.kind == "btrfs" {
		dir, err := unix.Openat(f.volumes, item(name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			if is, _ := isSubvolume(dir, "data"); is {
				err = btrfs.DeleteSubvolume(dir, "data")
			}
			if err := errors.Join(err, unix.Close(dir)); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(f.path(name))
}

func isSubvolume(parent int, name string) (bool, error) {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	return btrfs.IsSubvolume(fd)
}
