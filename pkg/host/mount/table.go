package mount

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Entry is one line of the mount table.
type Entry struct {
	// ID tells this mount from all others that there are now.
	ID string
	// Device is "major:minor" of the filesystem (not of a btrfs subvolume).
	Device string
	// Root is the path within that filesystem which the mount shows.
	Root string
	// Point is where it is mounted.
	Point string
	// ReadOnly tells that this mount, or the whole filesystem, takes no writes.
	ReadOnly bool
	// Shared tells that what is mounted below is seen in other mount namespaces.
	Shared bool
	// Type is the filesystem's, Source what was mounted: for a disk its device.
	Type, Source string
}

// Table reads the mount table of this process, in the order of mounting. Its
// cost grows with the number of mounts: it is for start-up and for checks.
// Source: proc_pid_mountinfo(5).
func Table() ([]Entry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	var table []Entry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), " ") // no other blank is escaped
		if len(fields) < 6 {
			return nil, fmt.Errorf("read mount table: unexpected line %q", lines.Text())
		}
		optional, rest := fields[6:], []string(nil)
		if end := slices.Index(optional, "-"); end >= 0 {
			optional, rest = optional[:end], optional[end+1:]
		}
		e := Entry{
			ID: fields[0], Device: fields[2], Root: unescape(fields[3]), Point: unescape(fields[4]),
			Shared: slices.ContainsFunc(optional, func(f string) bool { return strings.HasPrefix(f, "shared:") }),
		}
		if len(rest) >= 2 {
			e.Type, e.Source = rest[0], unescape(rest[1])
		}
		e.ReadOnly = hasOption(fields[5], "ro") || len(rest) >= 3 && hasOption(rest[2], "ro")
		table = append(table, e)
	}
	return table, lines.Err()
}

func hasOption(list, option string) bool { return slices.Contains(strings.Split(list, ","), option) }

// unescape undoes the octal escapes of blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At finds the topmost mount at or above the path: the one its files lie on.
func At(table []Entry, path string) (Entry, bool) {
	var best Entry
	found := false
	for _, e := range table {
		if Below(path, e.Point) || path == e.Point {
			if !found || len(e.Point) >= len(best.Point) {
				best, found = e, true
			}
		}
	}
	return best, found
}

// Below tells whether the clean path lies strictly below the clean directory.
func Below(path, dir string) bool {
	if dir == "/" {
		return path != "/" && strings.HasPrefix(path, "/")
	}
	return len(path) > len(dir) && strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}
