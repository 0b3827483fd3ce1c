package crash

import (
	"fmt"
	"os"
	"strings"
)

// mounted is one line of the mount table; the paths of these tests have no blanks.
type mounted struct{ root, point string }

// mountsBelow lists the mounts below a directory in the order of mounting.
func mountsBelow(dir string) ([]mounted, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []mounted
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			return nil, fmt.Errorf("mount table: unexpected line %q", line)
		}
		if strings.HasPrefix(fields[4], dir+"/") {
			out = append(out, mounted{root: fields[3], point: fields[4]})
		}
	}
	return out, nil
}
