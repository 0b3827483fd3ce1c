package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// limits reads the limit in bytes of each subvolume, by its path in the filesystem; -1 for none. stale counts
// the qgroups whose subvolume is gone. Source: btrfs-qgroup(8).
func (w *world) limits() (limits map[string]int64, stale int, err error) {
	out, err := btrfs("qgroup", "show", "-re", "--raw", w.fs.mount)
	if err != nil {
		return nil, 0, err
	}
	limits = map[string]int64{}
	for line := range strings.Lines(out) {
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
		if isImage(w.item(id)) {
			continue
		}
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

// noStaleQgroups waits until the kernel has freed what was deleted. A qgroup that is left then was lost, and
// makes every commit a little slower.
func (w *world) noStaleQgroups() error {
	var problem error
	err := until("for the qgroups of deleted subvolumes to go", func() bool {
		_, problem = btrfs("filesystem", "sync", w.fs.mount)
		_, stale, err := w.limits()
		problem = errors.Join(problem, err)
		return problem != nil || stale == 0
	})
	return errors.Join(err, problem)
}

func btrfs(args ...string) (string, error) {
	command := exec.Command("btrfs", args...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", command.Args, err, out)
	}
	return string(out), err
}
