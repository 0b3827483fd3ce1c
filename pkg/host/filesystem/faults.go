package filesystem

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Faults is how many errors the kernel has found in a mounted filesystem since it
// was last checked; 0 for kinds that it counts none of.
//
// Source: /sys/fs/ext4/<disk>/errors_count, Documentation/ABI/testing/sysfs-fs-ext4.
func Faults(device, kind string) (int, error) {
	if kind != Ext4 {
		return 0, nil
	}
	text, err := os.ReadFile("/sys/fs/ext4/" + filepath.Base(device) + "/errors_count")
	if errors.Is(err, fs.ErrNotExist) { // not mounted any more
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
