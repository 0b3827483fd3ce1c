package rmtree

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountedError names a mount point by its path in this mount namespace.
type mountedError struct{ path string }

func (e *mountedError) Error() string { return e.path + " " + ErrMountPoint.Error() }
func (e *mountedError) Unwrap() error { return ErrMountPoint }

// mountWithin returns the path of a mount on a directory or file of the subvolume
// whose root is fd and whose name in its parent directory is name; "" if there is
// none in this mount namespace. Mounts count through which mount of the same
// filesystem ever they were made. It reads mountinfo, once for each subvolume.
func mountWithin(fd int, name string) (string, error) {
	mounts, err := readMounts()
	if err != nil {
		return "", err
	}
	// In mountinfo all subvolumes of a filesystem have the same device.
	var filesystem string
	var stx unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &stx) == nil && stx.Mask&unix.STATX_MNT_ID != 0 {
		filesystem = mounts[stx.Mnt_id].device
	}
	var root, parent unix.Stat_t
	if err := unix.Fstat(fd, &root); err != nil {
		return "", err
	}
	if err := unix.Fstatat(fd, "..", &parent, 0); err != nil {
		return "", err
	}
	for _, m := range mounts {
		on := mounts[m.parent]
		if on.fstype != "btrfs" || filesystem != "" && on.device != filesystem {
			continue
		}
		// What the mount covers cannot be seen, the directory that holds it can.
		var st unix.Stat_t
		if unix.Lstat(filepath.Dir(m.path), &st) != nil {
			continue
		}
		inside := st.Dev == root.Dev
		onRoot := st.Dev == parent.Dev && st.Ino == parent.Ino && filepath.Base(m.path) == name
		if inside || onRoot {
			return m.path, nil
		}
	}
	return "", nil
}

type mount struct {
	parent               uint64
	device, path, fstype string
}

// readMounts reads proc_pid_mountinfo(5), by mount id.
func readMounts() (map[uint64]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	mounts := map[uint64]mount{}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		if line == "" {
			return mounts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read mounts: %w", err)
		}
		fields := strings.Fields(line)
		_, after, _ := strings.Cut(line, " - ")
		fstype, _, _ := strings.Cut(after, " ")
		id, err := strconv.ParseUint(fields[0], 10, 64)
		parent, err2 := strconv.ParseUint(fields[1], 10, 64)
		if err != nil || err2 != nil || len(fields) < 5 {
			return nil, fmt.Errorf("read mounts: unexpected line %q", line)
		}
		mounts[id] = mount{parent: parent, device: fields[2], path: unescape.Replace(fields[4]), fstype: fstype}
	}
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
