package quota

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelHasQuotactlFD: with a bad descriptor the call says so if it exists.
func kernelHasQuotactlFD() bool {
	return !errors.Is(quotactlFD(-1, qXGetStateV, 0, nil), unix.ENOSYS)
}

// deviceOf returns a path of the block device that the filesystem of fd is on:
// what it was mounted from, if that is the device, else the link in /dev/block.
func deviceOf(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find block device: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if path, ok := sourceOf(lines.Text(), number); ok && isDevice(path, st.Dev) {
			return path, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("find block device: %w", err)
	}
	if path := "/dev/block/" + number; isDevice(path, st.Dev) {
		return path, nil
	}
	return "", fmt.Errorf("%w: this kernel wants the block device %s and /dev does not have it", ErrUnsupported, number)
}

// sourceOf returns the mount source of a line of mountinfo that is about the
// device of that number.
func sourceOf(line, number string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 3 || fields[2] != number {
		return "", false
	}
	_, after, _ := strings.Cut(line, " - ")
	fields = strings.Fields(after)
	if len(fields) < 2 {
		return "", false
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[1]), true
}

func isDevice(path string, number uint64) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number
}
