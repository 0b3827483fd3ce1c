// Package stdio takes the standard streams away from a process whose output is a
// protocol: nothing that it runs, not even a panic, can write there by accident.
package stdio

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seize gives what was the standard output, for the caller alone, and puts
// /dev/null in the place of all three standard streams, for this process and its
// children. (A stream that was closed is open by then: Go's runtime sees to that.)
func Seize() (out *os.File, err error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("keep the standard output: %w", err)
	}
	out = os.NewFile(uintptr(fd), "standard output")
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return out, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null) //nolint:errcheck // nothing was written
	for stream := range 3 {
		if err := unix.Dup3(null, stream, 0); err != nil {
			return out, fmt.Errorf("replace standard stream %d: %w", stream, err)
		}
	}
	return out, nil
}
