//go:build power

package power

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// filesystem is one that a pool can lie on.
type filesystem struct {
	kind    string
	mkfs    []string
	options string // of its mount
}

func filesystems() []filesystem {
	return []filesystem{
		{"ext4", []string{"mkfs.ext4", "-q", "-F", "-m", "0", "-O", "quota,project", "-E", "quotatype=prjquota,nodiscard"}, "prjquota"},
		{"xfs", []string{"mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1"}, "prjquota"},
		{"btrfs", []string{"mkfs.btrfs", "-q", "-f", "-K"}, ""},
	}
}

const (
	diskMiB = 3072
	logMiB  = 8192 // sparse
)

// logged is a device whose writes are logged, with a filesystem on it.
type logged struct {
	filesystem
	name, mount, log string
	devices          []string
}

// newLogged makes a blank device and the filesystem on it, all of it logged, and mounts it.
func newLogged(t *testing.T, fs filesystem, dir string) *logged {
	t.Helper()
	l := &logged{filesystem: fs, name: "hostvol-logged", mount: filepath.Join(dir, "mount"), log: filepath.Join(dir, "log")}
	must(t, os.Mkdir(l.mount, 0o755))
	for path, mib := range map[string]int64{filepath.Join(dir, "blank"): diskMiB, l.log: logMiB} {
		must(t, sparse(path, mib<<20))
	}
	t.Cleanup(func() { l.close(t) })
	for _, path := range []string{filepath.Join(dir, "blank"), l.log} {
		l.devices = append(l.devices, strings.TrimSpace(run(t, "losetup", "--find", "--show", path)))
	}
	run(t, "dmsetup", "create", l.name, "--table", fmt.Sprintf("0 %d log-writes %s %s", diskMiB<<20/512, l.devices[0], l.devices[1]))
	run(t, append(fs.mkfs, l.device())...)
	forgetBtrfs(t, fs)
	must(t, unix.Mount(l.device(), l.mount, fs.kind, 0, fs.options))
	return l
}

func (l *logged) device() string { return "/dev/mapper/" + l.name }

// close ends the log, whole.
func (l *logged) close(t *testing.T) {
	t.Helper()
	if l.devices == nil {
		return
	}
	must(t, unmount(l.mount))
	run(t, "dmsetup", "remove", "--retry", l.name)
	for _, device := range l.devices {
		run(t, "losetup", "--detach", device)
	}
	l.devices = nil
}

// forgetBtrfs has the kernel forget the devices that it has seen: copies of a disk have the same UUID, and it would
// take the newest for the filesystem.
func forgetBtrfs(t *testing.T, fs filesystem) {
	t.Helper()
	if fs.kind == "btrfs" {
		run(t, "btrfs", "device", "scan", "--forget")
	}
}

func sparse(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(bytes), f.Close())
}

// unmount waits for those who have something open there: a process that has just ended, or udev.
func unmount(path string) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := unix.Unmount(path, 0); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

func run(t *testing.T, line ...string) string {
	t.Helper()
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(line, " "), err, out)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
