package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LoopFS makes a file system of the kind btrfs, xfs or ext4 in a sparse file below dir and mounts it on a loop
// device. btrfs has quotas enabled. cleanup unmounts it, waits until the loop device has let go of the file, and
// removes both; it may be called twice. xfs needs 300 MiB, btrfs about 120 MiB.
func LoopFS(dir, kind string, sizeMiB int) (mountpoint string, cleanup func() error, err error) {
	mkfs := map[string][]string{
		"btrfs": {"mkfs.btrfs", "-q"},
		"xfs":   {"mkfs.xfs", "-q"},
		"ext4":  {"mkfs.ext4", "-q", "-F", "-m", "0"},
	}[kind]
	if mkfs == nil {
		return "", nil, fmt.Errorf("loop file system: unknown kind %q: btrfs, xfs or ext4", kind)
	}
	image := filepath.Join(dir, kind+".img")
	mountpoint = filepath.Join(dir, kind)
	cleanup = func() error { return unmountLoop(mountpoint, image) }
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("loop file system %s: %w", kind, err), cleanup())
		}
	}()

	if err := os.Mkdir(mountpoint, 0o755); err != nil {
		return "", nil, err
	}
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(f.Truncate(int64(sizeMiB)<<20), f.Close()); err != nil {
		return "", nil, err
	}
	if err := run(append(mkfs, image)...); err != nil {
		return "", nil, err
	}
	if err := mountLoop(kind, image, mountpoint); err != nil {
		return "", nil, err
	}
	if kind == "btrfs" {
		if err := run("btrfs", "quota", "enable", mountpoint); err != nil {
			return "", nil, err
		}
	}
	return mountpoint, cleanup, nil
}

// mountLoop tries for a while: loop devices are shared with every other user of the machine, and the one that
// mount(8) found free may be taken a moment later.
func mountLoop(kind, image, mountpoint string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := run("mount", "-t", kind, "-o", "loop", image, mountpoint)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func unmountLoop(mountpoint, image string) error {
	err := unix.Unmount(mountpoint, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // not mounted, or cleaned before
		err = nil
	}
	if err != nil {
		// Somebody still uses it. Detach it, so that at least nothing stays in the tree, and say so.
		return errors.Join(fmt.Errorf("unmount %s: %w", mountpoint, err), unix.Unmount(mountpoint, unix.MNT_DETACH))
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(LoopDevices(image)) > 0 {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still holds %s", LoopDevices(image), image)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, path := range []string{image, mountpoint} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// LoopDevices lists the loop devices whose file is at path or below it.
func LoopDevices(path string) []string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var devices []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it was released meanwhile
		}
		backing := strings.TrimSuffix(strings.TrimSpace(string(text)), " (deleted)")
		if backing == path || strings.HasPrefix(backing, path+"/") {
			devices = append(devices, "/dev/"+strings.Split(file, "/")[3])
		}
	}
	return devices
}

func run(line ...string) error {
	command := exec.Command(line[0], line[1:]...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	out, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: install it, see hack/setup.sh", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
