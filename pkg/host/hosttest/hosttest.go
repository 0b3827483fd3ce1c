// Package hosttest makes real filesystems for tests: an image file in the test's
// own directory, a loop device, mkfs and a mount, all undone when the test ends.
//
// It needs root and mkfs tools and fails the test without them. Mounts are made
// in the current mount namespace; run tests under "unshare -m". It must be
// imported by tests only.
package hosttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Btrfs mounts a new btrfs of sizeMiB (at least 128) with qgroups enabled and
// counted, and returns the mount point.
func Btrfs(t testing.TB, sizeMiB int) string {
	t.Helper()
	dir := BtrfsNoQuota(t, sizeMiB)
	Run(t, "btrfs", "quota", "enable", dir)
	Run(t, "btrfs", "quota", "rescan", "-w", dir)
	return dir
}

// BtrfsNoQuota is Btrfs without quotas.
func BtrfsNoQuota(t testing.TB, sizeMiB int) string {
	t.Helper()
	return filesystem(t, sizeMiB, "", "mkfs.btrfs", "-q", "-f")
}

// XFS mounts a new XFS with reflinks, sizeMiB at least 300, with mount options
// like "noatime,prjquota" (empty for none), and returns the mount point.
func XFS(t testing.TB, sizeMiB int, options string) string {
	t.Helper()
	return filesystem(t, sizeMiB, options, "mkfs.xfs", "-q", "-f", "-m", "reflink=1")
}

// Ext4 mounts a new ext4 with mount options (empty for none) and further
// arguments of mkfs.ext4, and returns the mount point.
func Ext4(t testing.TB, sizeMiB int, options string, mkfs ...string) string {
	t.Helper()
	return filesystem(t, sizeMiB, options, append([]string{"mkfs.ext4", "-q", "-F"}, mkfs...)...)
}

// Loop makes a sparse file of sizeMiB in dir (empty: a directory of the test),
// attaches it and returns the path of the loop device.
func Loop(t testing.TB, dir string, sizeMiB int) string {
	t.Helper()
	Root(t)
	if dir == "" {
		dir = t.TempDir()
	}
	image := filepath.Join(dir, "image")
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Truncate(int64(sizeMiB) << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// losetup finds a free device and takes it in two steps; others may be faster.
	var out []byte
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command("losetup", "--find", "--show", image)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		if out, err = cmd.CombinedOutput(); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("attach %s: %v: %s", image, err, out)
		}
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

// Mount mounts source at target, which is made if needed, and unmounts it when
// the test ends.
func Mount(t testing.TB, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	Root(t)
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
	t.Cleanup(func() { unmount(t, target) })
}

// Open opens a directory for reading and closes it when the test ends.
func Open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// Run runs a command and returns its output; the test fails if it fails.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// Root fails the test when it does not run as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
}

func filesystem(t testing.TB, sizeMiB int, options string, mkfs ...string) string {
	t.Helper()
	device := Loop(t, "", sizeMiB)
	Run(t, append(mkfs, device)...)
	target := filepath.Join(t.TempDir(), "mnt")
	Mount(t, device, target, strings.TrimPrefix(mkfs[0], "mkfs."), 0, options)
	return target
}

// unmount retries while a descriptor of the test, or of a child that has not
// closed it yet, keeps the mount busy.
func unmount(t testing.TB, target string) {
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != unix.EBUSY {
			break
		}
	}
	if err != nil {
		t.Errorf("unmount %s: %v", target, err)
		_ = unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
}
