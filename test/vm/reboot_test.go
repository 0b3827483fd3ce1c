//go:build vm

package vm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/loop"
)

// mountpoint is a line of the kernel's table.
type mountpoint struct{ path, kind, source string }

func (n *node) mounts() (all []mountpoint) {
	n.t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	n.must(err)
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n") {
		left, right, _ := strings.Cut(line, " - ")
		of, what := strings.Fields(left), strings.Fields(right)
		all = append(all, mountpoint{of[4], what[0], what[1]})
	}
	return all
}

// devices are the paths of those that images of the pool are attached to.
func (n *node) devices() (paths []string) {
	n.t.Helper()
	var st unix.Stat_t
	n.must(unix.Stat(n.mount, &st))
	all, err := loop.Backed()
	n.must(err)
	for _, b := range all {
		if b.Dev == st.Dev {
			paths = append(paths, "/dev/loop"+strconv.Itoa(b.Number))
		}
	}
	return paths
}

// reboot comes as near to one as it goes with a kernel that stays: the daemon ends, what was published and the pool
// are unmounted, all devices are detached; then the pool is mounted, and the daemon starts.
func (n *node) reboot(targets ...string) {
	n.t.Helper()
	n.must(n.daemon.Kill())
	for _, target := range targets {
		n.must(unix.Unmount(target, unix.UMOUNT_NOFOLLOW))
		n.must(os.Remove(target)) // it lies on a disk, and a kubelet cleans up
	}
	// What the daemon has kept for itself, which a boot forgets.
	if err := unix.Unmount(filepath.Join(filepath.Dir(n.daemon.KubeletDir()), "run", "mounts"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EINVAL) {
		n.must(err)
	}
	for _, device := range n.devices() {
		hosttest.Run(n.t, "losetup", "--detach", device)
	}
	n.until("no device is attached", func() bool { return len(n.devices()) == 0 })
	all := n.mounts()
	pool := all[slices.IndexFunc(all, func(m mountpoint) bool { return m.path == n.mount })]
	for _, m := range slices.Backward(all) {
		if m.source == pool.source {
			n.must(unix.Unmount(m.path, unix.UMOUNT_NOFOLLOW))
		}
	}
	free, err := unix.Open(pool.source, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	n.must(err) // it is mounted nowhere
	n.must(unix.Close(free))
	n.must(unix.Mount(pool.source, n.mount, pool.kind, 0, "prjquota"))
	n.restart()
}
