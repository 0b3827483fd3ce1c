package crash

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// limits reads the limit in bytes of each subvolume, by its path in the filesystem; -1 for none. stale counts
// the qgroups whose subvolume is gone. Source: btrfs-qgroup(8).
func (w *world) limits() (limits map[string]int64, stale int, err error) {
	command := exec.Command("btrfs", "qgroup", "show", "-re", "--raw", w.fs.mount)
	command.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := command.CombinedOutput()
	if err != nil {
		return nil, 0, fmt.Errorf("%v: %w: %s", command.Args, err, out)
	}
	limits = map[string]int64{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || !strings.HasPrefix(fields[0], "0/") {
			continue
		}
		if strings.HasPrefix(fields[5], "<stale>") {
			stale++
			continue
		}
		bytes, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil { // "none"
			bytes = -1
		}
		limits["/"+fields[5]] = bytes
	}
	return limits, stale, nil
}

// limitFaults compares the limits that the kernel holds with the records.
func (w *world) limitFaults(v view) []string {
	limits, _, err := w.limits()
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for id, s := range v.Volumes {
		if s.Origin == "" && !s.Enforced {
			out = append(out, fmt.Sprintf("volume %s is not enforced", id))
		}
		limit, ok := limits[filepath.Join(w.inFilesystem(id), "data")]
		if s.Enforced && (!ok || limit != s.Bytes) {
			out = append(out, fmt.Sprintf("the kernel's limit of %s is %d bytes (%v), its record says %d", id, limit, ok, s.Bytes))
		}
	}
	return out
}
